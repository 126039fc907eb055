"""What terms let through, said slowly: one record at a time, no compilation, nothing clever.

The compiler, and whatever masks in SQL or Arrow, is compared with this.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from exchange.scope import Both, Comparison, Condition, Either, IsNull, Like, Not, parse_scope
from exchange.terms import (
    Constant,
    Full,
    Hash,
    LastN,
    Mask,
    Range,
    RegionOnly,
    SmallCount,
    Terms,
    Tokenised,
    Unmasked,
    YearOnly,
)


def reference_covers(condition: Condition, record: Mapping[str, Any]) -> Any:  # noqa: PLR0911
    match condition:
        case Both(parts):
            answers = [reference_covers(part, record) for part in parts]
            return False if False in answers else None if None in answers else True
        case Either(parts):
            answers = [reference_covers(part, record) for part in parts]
            return True if True in answers else None if None in answers else False
        case Not(part):
            answer = reference_covers(part, record)
            return None if answer is None else not answer
        case IsNull(item):
            return record.get(item) is None
        case Like(item, pattern):
            value = record.get(item)
            return like(value, pattern) if isinstance(value, str) else None
        case Comparison(operator, item, wanted):
            value = record.get(item)
            number = (int, float, Decimal)
            same_kind = (
                (isinstance(value, bool) and isinstance(wanted, bool))
                or (isinstance(value, str) and isinstance(wanted, str))
                or (
                    isinstance(value, number)
                    and isinstance(wanted, number)
                    and not isinstance(value, bool)
                    and not isinstance(wanted, bool)
                )
            )
            if not same_kind:
                return None
            left: Any = Decimal(str(value)) if isinstance(value, float) else value
            order = (left > wanted) - (left < wanted)
            return {
                "=": order == 0,
                "<>": order != 0,
                "<": order < 0,
                "<=": order <= 0,
                ">": order > 0,
                ">=": order >= 0,
            }[operator]


def like(text: str, pattern: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    if pattern[0] == "\\":
        return text[:1] == pattern[1] and like(text[1:], pattern[2:])
    return bool(text) and pattern[0] in ("_", text[0]) and like(text[1:], pattern[1:])


def reference_mask(mask: Mask, value: Any, key: bytes) -> Any:  # noqa: PLR0911, PLR0912
    written = str(value) if isinstance(value, int | str | date) and not isinstance(value, bool) else None
    match mask:
        case Unmasked():
            return value
        case Full():
            return "***"
        case Constant(value=constant):
            return constant
        case _ if value is None:
            return None
        case LastN(keep=keep):
            if written is None or len(written) <= keep:
                return "***"
            return "".join("*" if i < len(written) - keep else c for i, c in enumerate(written))
        case Hash():
            return (
                hmac.new(key, written.encode(), hashlib.sha256).hexdigest() if written is not None else "***"
            )
        case RegionOnly(keep=keep):
            return written[:keep] if written is not None else "***"
        case Tokenised():
            if written is None or not written:
                return "***" if written is None else ""
            cipher = AESSIV(hmac.new(key, b"tokens", hashlib.sha512).digest())
            return base64.urlsafe_b64encode(cipher.encrypt(written.encode(), None)).decode().rstrip("=")
        case SmallCount(below=below):
            number = as_number(value)
            if number is None or number < 0:
                return "***"
            return f"<{below}" if 0 < number < below else value
        case Range(width=width):
            number = as_number(value)
            if number is None or abs(number) > 10**25:
                return "***"
            start = math.floor(Fraction(number) / width) * width
            return f"[{start},{start + width})"
        case YearOnly():
            year = (written or "")[:4]
            rest = (written or "")[4:]
            digits = len(year) == 4 and year.isascii() and year.isdecimal()
            known = (
                rest == ""
                or rest[0] in "-/.年"
                or (rest.isascii() and rest.isdecimal() and len(rest) in (2, 4, 10))
            )
            return year if digits and known else "***"


def as_number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,30}([.][0-9]{1,30})?", value):
        return None
    number = Decimal(str(value))
    return number if number.is_finite() else None


def reference(terms: Terms, records: list[dict[str, Any]], key: bytes) -> list[dict[str, Any]]:
    part = terms.resources[0]
    condition = parse_scope(part.scope) if part.scope else None
    return [
        {
            item.code: reference_mask(item.mask, record[item.code], key)
            for item in part.items
            if item.code in record
        }
        for record in records
        if condition is None or reference_covers(condition, record) is True
    ]
