"""How many identifiers two agencies hold in common, told without either showing them: keyed theta sketches.

Pure. Owns what a value looks like before it is sketched. Only values under the same secret key can be compared;
the key stays with the agencies, as numbers of people can be guessed and tried out against a sketch without one.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import datasketches as ds

LOG_ENTRIES = 12  # 2**12 hashes are kept: 34 KB, a standard error of 1.6 % of the union
LARGEST = 40_000  # bytes of a sketch
_LEAST_KEY = 16  # bytes
_DEVIATIONS = 2  # of the bounds: 95 %


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number of distinct identifiers with the bounds it lies in 95 times of 100."""

    number: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """Identifiers that both hold, and how many each holds; the shares are of the first's and of the other's."""

    common: Estimate
    one: Estimate
    other: Estimate

    @property
    def share_one(self) -> float:
        return _share(self.common, self.one)

    @property
    def share_other(self) -> float:
        return _share(self.common, self.other)


def key_mark(key: bytes) -> str:
    """Tells whether two sketches were made with the same key, and nothing of the key. Errors: ValueError."""
    if len(key) < _LEAST_KEY:
        raise ValueError(f"{len(key)} < {_LEAST_KEY}")
    return hmac.new(key, b"zhengtong identifier sketch", hashlib.sha256).hexdigest()[:16]


def sketch(values: Iterable[str], key: bytes) -> bytes:
    """The sketch of a column, as Apache DataSketches writes it (compact, ordered). Empty values are left out."""
    made = ds.update_theta_sketch(LOG_ENTRIES)
    for value in values:
        if plain := "".join(unicodedata.normalize("NFKC", value).split()).upper():
            made.update(hmac.new(key, plain.encode(), hashlib.sha256).hexdigest())
    made.trim()
    return bytes(made.compact().serialize())


def size(serialized: bytes) -> Estimate:
    """How many distinct identifiers a sketch stands for. Errors: ValueError."""
    return _estimate(_read(serialized))


def overlap(one: bytes, other: bytes) -> Overlap:
    """What two sketches of one key have in common. Errors: ValueError."""
    left, right = _read(one), _read(other)
    both = ds.theta_intersection()
    both.update(left)
    both.update(right)
    return Overlap(_estimate(both.get_result()), _estimate(left), _estimate(right))


def _read(serialized: bytes) -> ds.compact_theta_sketch:
    if len(serialized) > LARGEST:
        raise ValueError(f"{len(serialized)} > {LARGEST}")
    try:
        return ds.compact_theta_sketch.deserialize(serialized)
    except (IndexError, ValueError, RuntimeError) as error:
        raise ValueError(str(error)) from None


def _estimate(made: ds.theta_sketch) -> Estimate:
    return Estimate(
        round(made.get_estimate()),
        round(made.get_lower_bound(_DEVIATIONS)),
        round(made.get_upper_bound(_DEVIATIONS)),
    )


def _share(common: Estimate, whole: Estimate) -> float:
    return min(common.number / whole.number, 1.0) if whole.number else 0.0
