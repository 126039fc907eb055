"""Canonical JSON (RFC 8785): the one form of a value that hashes are taken of.

Pure. Owns the short way for what a common encoder writes as the RFC wants it; everything else is rfc8785's.
"""

from __future__ import annotations

from typing import Any

import msgspec
import rfc8785

EXACT_INTEGER = 2**53  # beyond it JSON numbers are not exact (RFC 8785 §3.2.2.3, RFC 7493 §2.2)
_encode = msgspec.json.Encoder(order="sorted").encode


def canonical(value: Any) -> bytes:
    """The canonical form of a JSON value, in UTF-8. Errors: rfc8785.CanonicalizationError, a ValueError."""
    if _is_plain(value):
        try:
            return _encode(value)
        except UnicodeEncodeError:  # half of a surrogate pair
            pass
    return rfc8785.dumps(value)


def canonical_plain(value: Any) -> bytes:
    """`canonical` of what is known to hold only texts, whole numbers below EXACT_INTEGER, booleans, nulls,
    lists and objects with names in ASCII: looking for anything else costs as much as the writing."""
    return _encode(value)


def _is_plain(value: Any) -> bool:
    """Whether the common encoder writes the value as the RFC wants it, many times faster: it differs in floating
    point numbers, in the order of names beyond ASCII (the RFC sorts by UTF-16 units), and it takes dates and the like."""
    waiting = [value]
    for one in waiting:  # grows while it is read: a call for each value would cost more than the encoding
        kind = type(one)
        if kind is dict:
            for name in one:
                if type(name) is not str or not name.isascii():
                    return False
            waiting += one.values()
        elif kind is list or kind is tuple:
            waiting += one
        elif kind is int:
            if not -EXACT_INTEGER < one < EXACT_INTEGER:
                return False
        elif not (kind is bool or one is None or isinstance(one, str)):
            return False
    return True
