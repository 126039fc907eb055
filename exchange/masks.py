"""Masks (脱敏): what is left of a value. The one meaning of each, for calls, bulk and push alike.

Pure, one value at a time; whoever masks where the data is (SQL, Arrow) is compared with this. Fails closed:
a value that a mask cannot read is hidden, never passed. Null stays null, except under full and constant.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import assert_never

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from exchange.terms import (
    Constant,
    Full,
    Hash,
    LastN,
    Mask,
    Range,
    RegionOnly,
    SmallCount,
    Tokenised,
    Unmasked,
    YearOnly,
)

HIDDEN = "***"
_YEAR = re.compile(r"([0-9]{4})(?:\Z|[-/.年]|[0-9]{2}\Z|[0-9]{4}\Z|[0-9]{10}\Z)")
_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")

Cover = Callable[[object], object]


class NotAToken(ValueError):
    """No token of this agreement."""


class Tokens:
    """Tokens (令牌化) of one agreement: equal values have equal tokens there, and only who holds the key reads
    one back (AES-SIV, RFC 5297, under a key derived from the agreement's)."""

    def __init__(self, mask_key: bytes) -> None:
        self._cipher = AESSIV(hmac.digest(mask_key, b"tokens", "sha512"))

    def token_of(self, text: str) -> str:
        """`text` as a token, in base64url; an empty text stays as it is."""
        if not text:
            return text
        sealed = self._cipher.encrypt(text.encode("utf-8", "surrogatepass"), None)
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def value_of(self, token: str) -> str:
        """The value that a token stands for. Errors: NotAToken."""
        try:
            sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            return self._cipher.decrypt(sealed, None).decode("utf-8", "surrogatepass")
        except (ValueError, InvalidTag):
            raise NotAToken(token[:64]) from None


def cover_of(mask: Mask, mask_key: bytes) -> Cover | None:  # noqa: PLR0911 - one for each mask
    """The function that a mask stands for; None for no mask. A value it cannot read becomes `HIDDEN`."""
    match mask:
        case Unmasked():
            return None
        case Full():
            return lambda _: HIDDEN
        case Constant(value=value):
            return lambda _: value
        case LastN(keep=keep):
            return _OfText(
                lambda text: "*" * (len(text) - keep) + text[-keep:] if len(text) > keep else HIDDEN
            )
        case Hash():
            return _OfText(
                lambda text: hmac.digest(mask_key, text.encode("utf-8", "surrogatepass"), "sha256").hex()
            )
        case YearOnly():
            return _OfText(lambda text: found[1] if (found := _YEAR.match(text)) else HIDDEN)
        case RegionOnly(keep=keep):
            return _OfText(lambda text: text[:keep])
        case Range(width=width):
            return lambda value: None if value is None else _band(value, width)
        case Tokenised():
            return _OfText(Tokens(mask_key).token_of)
        case SmallCount(below=below):
            return lambda value: None if value is None else _suppressed(value, below)
        case _:
            assert_never(mask)


def cover_texts(cover: Cover, values: list[object]) -> list[object] | None:
    """Each of the values covered, in less time than one by one, where all are texts, as nearly always; else None."""
    if isinstance(cover, _OfText) and set(map(type, values)) == {str}:
        return [*map(cover.text, values)]  # type: ignore[arg-type]  # as just seen
    return None


class _OfText:
    """A cover of texts, whole numbers and dates in their usual writing; null stays, the rest is hidden."""

    def __init__(self, text: Callable[[str], str]) -> None:
        self.text = text

    def __call__(self, value: object) -> object:
        match value:
            case str():  # first, because nearly every value is one
                return self.text(value)
            case None:
                return None
            case bool():
                return HIDDEN
            case int():
                return self.text(str(value)) if abs(value) < 10**40 else HIDDEN
            case date():
                return self.text(value.isoformat())
            case _:
                return HIDDEN


def _band(value: object, width: int) -> str:
    """The half-open band of `width` around a number, from whole multiples of it."""
    number = _number(value)
    if number is None or abs(number) > 10**25:
        return HIDDEN
    start = int(number // width) * width
    if number < start:  # Decimal division truncates towards zero
        start -= width
    return f"[{start},{start + width})"


def _suppressed(value: object, below: int) -> object:
    """A count as it is, or that it is too small to be told. Nought says nothing of anybody, and stays."""
    number = _number(value)
    if number is None or number < 0:
        return HIDDEN
    return f"<{below}" if 0 < number < below else value


def _number(value: object) -> Decimal | None:
    """A finite number, or a text that is one."""
    match value:
        case bool():
            return None
        case int() | Decimal():
            number = Decimal(value)
        case float():
            number = Decimal(repr(value))
        case str() if _NUMBER.fullmatch(value):
            number = Decimal(value)
        case _:
            return None
    return number if number.is_finite() else None
