"""Guessing (试探): how many wrong questions somebody may ask before verification stops answering for a while.

Owns the counting, in memory of one gateway. A guesser keeps what it knows and varies one value: so wrong answers
are counted under all values but one, for each of the values.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import msgspec

from app.kernel.errors import TooMany
from app.kernel.text import Text

WINDOW = timedelta(hours=1)
WRONG_OF_ONE = 5  # answers "no" while a single value changes
WRONG_IN_ALL = 200  # of one client under one agreement, whatever it asks
REMEMBERED = 200_000


class TooManyGuesses(TooMany):
    slug = "too-many-guesses"
    title = Text("核验不符次数过多，请稍后再试", "Too many questions were answered no; try again later")


class Guesses:
    """The wrong questions of the last hour."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[bytes, tuple[int, datetime]] = OrderedDict()  # how many, since when

    def require_few(self, who: tuple[str, str], values: Mapping[str, object], at: datetime) -> None:
        """`who` is agreement and client. Errors: TooManyGuesses, which says nothing of the answer."""
        for key, most in _keys(who, values):
            count, since = self._wrong.get(key, (0, at))
            left = since + WINDOW - at
            if count >= most and left > timedelta():
                raise TooManyGuesses(headers={"Retry-After": str(int(left.total_seconds()) + 1)})

    def note_wrong(self, who: tuple[str, str], values: Mapping[str, object], at: datetime) -> None:
        """The answer was no."""
        for key, _ in _keys(who, values):
            count, since = self._wrong.pop(key, (0, at))
            self._wrong[key] = (count + 1, since) if at - since < WINDOW else (1, at)
        while len(self._wrong) > REMEMBERED:
            self._wrong.popitem(last=False)


def _keys(who: tuple[str, str], values: Mapping[str, object]) -> Iterator[tuple[bytes, int]]:
    """What a question counts under, and how many wrong ones are let be. Values are kept as digests alone."""
    yield _digest(who), WRONG_IN_ALL
    if len(values) > 1:
        for varied in values:
            kept = sorted((code, value) for code, value in values.items() if code != varied)
            yield _digest((who, varied, kept)), WRONG_OF_ONE


def _digest(written: object) -> bytes:
    return hashlib.sha256(msgspec.json.encode(written)).digest()[:16]
