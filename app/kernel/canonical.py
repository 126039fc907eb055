"""Canonical JSON (RFC 8785): the one form of a value that hashes are taken of.

Pure. Owns the short way for what needs no more than the standard encoder; everything else is rfc8785's.
"""

from __future__ import annotations

import json
from typing import Any

import rfc8785

EXACT_INTEGER = 2**53  # beyond it JSON numbers are not exact (RFC 8785 §3.2.2.3, RFC 7493 §2.2)
_encode = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False
).encode


def canonical(value: Any) -> bytes:
    """The canonical form of a JSON value, in UTF-8. Errors: rfc8785.CanonicalizationError, a ValueError."""
    if _is_plain(value):
        try:
            return _encode(value).encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            pass
    return rfc8785.dumps(value)


def _is_plain(value: Any) -> bool:
    """Whether the standard encoder writes the value as the RFC wants it, ten times faster: it differs in floating
    point numbers, and in the order of names beyond ASCII (the RFC sorts by UTF-16 units)."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is dict:
        return all(type(name) is str and name.isascii() and _is_plain(of_it) for name, of_it in value.items())
    if kind is list or kind is tuple:
        return all(map(_is_plain, value))
    return kind is int and -EXACT_INTEGER < value < EXACT_INTEGER
