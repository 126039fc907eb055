"""Agreed masks as expressions of PostgreSQL, so that a table's values are masked where they are.

Pure. Gives only what means exactly the same as `exchange.masks`; for the rest it says None, and the values are
masked one at a time there. Keys never go to a provider: hashes and tokens are always made at the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from exchange.compiler import CompiledTerms
from exchange.delivery.protocol import TableSource
from exchange.masks import HIDDEN
from exchange.scope import quote_identifier
from exchange.terms import Constant, Full, LastN, Mask, Range, RegionOnly, SmallCount, Unmasked, YearOnly

Kind = Literal["text", "whole", "number", "date", "truth"]

# PostgreSQL's name of a type -> how the masks see its values. Others are left to the masks themselves.
KINDS: dict[str, Kind] = {
    "text": "text",
    "varchar": "text",
    "int2": "whole",
    "int4": "whole",
    "int8": "whole",
    "numeric": "number",
    "date": "date",
    "bool": "truth",
}  # fmt: skip

_YEAR = "^[0-9]{4}($|[-/.年]|[0-9]{2}$|[0-9]{4}$|[0-9]{10}$)"
_NUMBER = r"^-?[0-9]{1,30}([.][0-9]{1,30})?$"
_HIDDEN = f"'{HIDDEN}'"
_UNTELLABLE = "'NaN', 'Infinity', '-Infinity'"  # numbers that JSON cannot say are null everywhere


def masked_columns(
    compiled: CompiledTerms, kinds: Mapping[str, Kind | None], columns: Mapping[str, str]
) -> list[str] | None:
    """One text expression for each agreed item, in order; None where one of them cannot be said in SQL.

    `kinds` is by item, `columns` names an item's column where it differs. The session's DateStyle must be ISO.
    The texts go into a statement with psycopg placeholders: a literal % is doubled.
    """
    told = [
        _masked(quote_identifier(columns.get(code, code)), kinds[code], mask)
        for code, mask in compiled.masks.items()
    ]
    return None if None in told else [expression for expression in told if expression is not None]


def rows_wanted(
    compiled: CompiledTerms, source: TableSource, also: str | None = None
) -> tuple[str, tuple[object, ...]]:
    """What follows the columns of a SELECT, and its values; those of the condition `also`, limit and offset are
    bound after them."""
    table = ".".join(quote_identifier(part) for part in source.table.split("."))
    # qualified, for a bare name would mean the masked column of that name
    order = ", ".join(f"kept.{quote_identifier(column)}" for column in source.key)
    where = compiled.sql_where(source.columns)
    conditions = [part for part in (None if where is None else where.text, also) if part is not None]
    condition = " WHERE " + " AND ".join(conditions) if conditions else ""
    values = () if where is None else where.values
    return f" FROM {table} AS kept{condition} ORDER BY {order} LIMIT %s OFFSET %s", values


def _masked(column: str, kind: Kind | None, mask: Mask) -> str | None:  # noqa: PLR0911 - one for each mask
    match mask:
        case Full():
            return _HIDDEN
        case Constant(value=value):
            return _literal(value)
        case _ if kind is None:
            return None
        case Unmasked():
            return _plain(column, kind)
        case LastN(keep=keep):
            return _of_text(
                column,
                kind,
                lambda t: (
                    f"CASE WHEN length({t}) > {keep} THEN repeat('*', length({t}) - {keep}) || right({t}, {keep})"
                    f" ELSE {_HIDDEN} END"
                ),
            )
        case RegionOnly(keep=keep):
            return _of_text(column, kind, lambda t: f"left({t}, {keep})")
        case YearOnly() if kind == "date":  # endless days and years of five digits are hidden
            year = f"WHEN {column} BETWEEN '0001-01-01' AND '9999-12-31' THEN left({column}::text, 4)"
            return f"CASE {year} WHEN {column} IS NOT NULL THEN {_HIDDEN} END"
        case YearOnly():
            return _of_text(
                column, kind, lambda t: f"CASE WHEN {t} ~ '{_YEAR}' THEN left({t}, 4) ELSE {_HIDDEN} END"
            )
        case Range(width=width):
            return _of_number(column, kind, lambda n: _band(n, width))
        case SmallCount(below=below):
            small = f"> 0 AND {column}::numeric < {below} THEN '<{below}'"
            return _of_number(
                column,
                kind,
                lambda n: f"CASE WHEN {n} < 0 THEN {_HIDDEN} WHEN {n} {small} ELSE {column}::text END",
            )
        case _:
            return None


def _plain(column: str, kind: Kind) -> str:
    match kind:
        case "truth":
            return f"CASE WHEN {column} THEN 'true' WHEN NOT {column} THEN 'false' END"
        case "number":
            return f"CASE WHEN {column} NOT IN ({_UNTELLABLE}) THEN {column}::text END"
        case _:
            return f"{column}::text"


def _band(number: str, width: int) -> str:
    # mod() is exact where a division would be rounded
    rest = f"mod({number}, {width})"
    start = f"trunc({number} - {rest} - CASE WHEN {rest} < 0 THEN {width} ELSE 0 END)"
    band = f"'[' || {start}::text || ',' || ({start} + {width})::text || ')'"
    return f"CASE WHEN abs({number}) > 1e25 THEN {_HIDDEN} ELSE {band} END"


def _of_text(column: str, kind: Kind, shown: Callable[[str], str]) -> str:
    if kind in ("text", "whole", "date"):
        return f"CASE WHEN {column} IS NOT NULL THEN {shown(f'{column}::text')} END"
    return _hidden_unless_null(column, kind)


def _of_number(column: str, kind: Kind, shown: Callable[[str], str]) -> str:
    told = shown(f"{column}::numeric")
    match kind:
        case "whole":
            return f"CASE WHEN {column} IS NOT NULL THEN {told} END"
        case "number":
            return f"CASE WHEN {column} NOT IN ({_UNTELLABLE}) THEN {told} END"
        case "text":
            return (
                f"CASE WHEN {column} ~ '{_NUMBER}' THEN {told} WHEN {column} IS NOT NULL THEN {_HIDDEN} END"
            )
        case _:
            return _hidden_unless_null(column, kind)


def _hidden_unless_null(column: str, kind: Kind) -> str:
    is_there = f"{column} NOT IN ({_UNTELLABLE})" if kind == "number" else f"{column} IS NOT NULL"
    return f"CASE WHEN {is_there} THEN {_HIDDEN} END"


def _literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace("%", "%%")
    return f"E'{escaped}'"
