"""Whether a password has been breached: against the list that ships, and one of the operator's. Asks no one else.

Owns the lookup. The operator's file is SHA-1 hashes in hexadecimal, sorted, one a line, as "Pwned Passwords ordered
by hash" is published; it is searched where it lies, however large it is.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import BinaryIO

HASH_DIGITS = 40


def is_breached(password: str, file: Path | None) -> bool:
    """Whether the password, as it is or in small letters, is known from breaches. Errors: OSError."""
    if password.lower() in _shipped():
        return True
    if file is None:
        return False
    wanted = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper().encode()
    with file.open("rb") as lines:
        return _holds(lines, wanted)


@cache
def _shipped() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 - loaded when somebody sets a password

    return frozenset(FREQUENCY_LISTS["passwords"])


def _holds(lines: BinaryIO, wanted: bytes) -> bool:
    """Whether a line begins with the hash. `low` is always the beginning of a line at or before its place."""
    low, high = 0, lines.seek(0, os.SEEK_END)
    while low < high:
        middle = (low + high) // 2
        lines.seek(middle)
        if middle:
            lines.seek(middle - 1)
            lines.readline()  # to the beginning of the next line
        begins = lines.tell()
        found = lines.readline()[:HASH_DIGITS].upper()
        if found == wanted:
            return True
        if begins >= high or found > wanted or not found:
            high = middle
        else:
            low = begins + len(found)
    return False
