"""Terms compiled into what leaves: which records, which items, in which form.

The one place that turns agreed terms into enforcement; the gateway delivers only through it. Pure.
It fails closed: what the terms do not name never passes, what a mask cannot read is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import chain
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec

from exchange.masks import Cover, cover_of, cover_texts
from exchange.scope import (
    Both,
    Comparison,
    Condition,
    Record,
    SqlCondition,
    items_of,
    parse_scope,
    sql_of,
    test_of,
    value_of,
)
from exchange.terms import ItemTerm, Terms

REMEMBERED = 1000  # verdicts of a scope
REMEMBERED_BYTES = 200


class OutsideTerms(Exception):
    """Asked for more than was agreed: `codes` are the items, or empty where the resource itself is not."""

    def __init__(self, codes: Iterable[str]) -> None:
        self.codes = tuple(sorted(codes))
        super().__init__(", ".join(self.codes))


class CompiledTerms:
    """The agreed content and scope of one resource, ready to run. Immutable, safe to share.

    `items` are the codes that leave, in the order of the terms; `masks` what covers each; `looks_at` those that
    the scope needs to see.
    """

    def __init__(self, items: tuple[ItemTerm, ...], condition: Condition | None, mask_key: bytes) -> None:
        self.items = tuple(item.code for item in items)
        self.masks = {item.code: item.mask for item in items}
        self.condition = condition
        self.looks_at = items_of(condition) if condition is not None else frozenset()
        self._covers = {item.code: cover_of(item.mask, mask_key) for item in items}
        self._test = test_of(condition) if condition is not None else None

    def admits(self, record: Record) -> bool:
        """Does the scope cover the record? Unknown (an absent or mistyped value) is no."""
        return self._test is None or self._test(record) is True

    def project(self, record: Record) -> dict[str, object]:
        """The agreed items of a record, masked as agreed; an item that the record lacks stays out."""
        projected: dict[str, object] = {}
        for code, cover in self._covers.items():
            if code in record:
                projected[code] = record[code] if cover is None else cover(record[code])
        return projected

    def cover(self, code: str) -> Cover | None:
        """What masks the values of an agreed item; None where they leave as they are."""
        return self._covers[code]

    def deliver(self, records: Iterable[Record]) -> Iterator[dict[str, object]]:
        """What leaves of the records, one at a time."""
        return (self.project(record) for record in records if self.admits(record))

    def sql_where(self, columns: Mapping[str, str] | None = None) -> SqlCondition | None:
        """The scope as a WHERE condition with bound values; None where every record is covered."""
        return None if self.condition is None else sql_of(self.condition, columns)

    def json_projection(
        self, envelope: str | None = None, fields: Mapping[str, str] | None = None
    ) -> JsonProjection:
        """A reader of JSON pages: an array of records, or an object that has it under `envelope`, one member's name or,
        where it lies deeper, `data/records`. `fields` names the member of an item where it differs from its code."""
        return JsonProjection(self, self._covers, envelope, fields or {})


class _Verdicts(dict[bytes | tuple[bytes, ...], bool]):
    """What a scope says of values, by their bytes. It is remembered: scopes mostly look at states and districts."""

    def __init__(self, judge: Callable[[bytes | tuple[bytes, ...]], bool]) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, sent: bytes | tuple[bytes, ...]) -> bool:
        verdict = self._judge(sent)
        if (len(sent) if isinstance(sent, bytes) else sum(map(len, sent))) <= REMEMBERED_BYTES:
            if len(self) >= REMEMBERED:
                self.clear()
            self[sent] = verdict
        return verdict


class JsonProjection:
    """Reads a provider's JSON page and keeps what may leave; untouched values stay as their own bytes.

    Numbers are never converted on the way, so that no digit changes. Fields that are not agreed are
    skipped by the decoder and exist nowhere afterwards.
    """

    def __init__(
        self,
        terms: CompiledTerms,
        covers: Mapping[str, Cover | None],
        envelope: str | None,
        fields: Mapping[str, str],
    ) -> None:
        self._terms = terms
        codes = list(dict.fromkeys([*terms.items, *sorted(terms.looks_at)]))
        member_of = {code: fields.get(code, code) for code in codes}
        place_of = {member: f"f{n}" for n, member in enumerate(dict.fromkeys(member_of.values()))}
        name_of = {code: place_of[member] for code, member in member_of.items()}
        masked = [code for code, cover in covers.items() if cover is not None]
        # What is wanted as it was sent stays its own bytes, and is decoded for the mask of another item alone.
        values = {name_of[code] for code in masked} - {
            name_of[code] for code in covers if covers[code] is None
        }
        record = msgspec.defstruct(
            "AgreedRecord",
            [
                (name, object if name in values else msgspec.Raw | msgspec.UnsetType, msgspec.UNSET)
                for name in place_of.values()
            ],
            rename={name: member for member, name in place_of.items()},
            gc=False,  # what was read from JSON holds no circles
        )
        self._seen = [(code, name_of[code]) for code in sorted(terms.looks_at)]
        # How to have what the scope looks at as it was sent; none where it looks at what is masked, a value by then.
        seen = [name for _, name in self._seen]
        self._sent = attrgetter(*seen) if seen and not values.intersection(seen) else None
        self._verdicts = _Verdicts(self._verdict)
        self._unsent = sorted(set(seen) - {name_of[code] for code in covers})
        self._masked = [
            (name_of[code], attrgetter(name_of[code]), cover)
            for code, cover in covers.items()
            if cover is not None
        ]
        # Where the provider's names are others, what leaves is written anew: item by item, under its code.
        self._columns = [
            (attrgetter(name_of[code]), cover, name_of[code] not in values) for code, cover in covers.items()
        ]
        self._written: Any = None
        if any(member_of[code] != code for code in covers):
            self._written = msgspec.defstruct(
                "WrittenRecord",
                [(f"f{n}", object, msgspec.UNSET) for n in range(len(covers))],
                rename={f"f{n}": code for n, code in enumerate(covers)},
                gc=False,
            )
        around = [] if envelope is None else envelope.split("/")
        self._once = _Once(place_of, around)
        self._depth = len(around)
        self._decoder = msgspec.json.Decoder(_page_of(record, around), float_hook=_exact)
        self._value = msgspec.json.Decoder(float_hook=_exact)
        self._encoder = msgspec.json.Encoder(decimal_format="number")

    def records(self, body: bytes) -> tuple[list[bytes], int]:
        """The admitted records of a page, each as JSON, and how many records the page held.

        Raises msgspec.DecodeError where the body is not such a page.
        """
        admitted, held = self.read(body)
        return self.lines(admitted), held

    def read(self, body: bytes) -> tuple[list[Any], int]:
        """The admitted records, masked, for `lines` or `joined` to write; else as `records`. A record that names twice
        what is wanted of it says two things: there is no telling which, and it is no record."""
        try:
            str(body, "utf-8")  # the decoder passes bytes that are not UTF-8 inside untouched values
            page = self._decoder.decode(body)
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(f"not UTF-8: {error}") from None
        except RecursionError:
            raise msgspec.DecodeError("nested too deeply") from None
        held = page
        for _ in range(self._depth):
            held = held.inside
        if not self._once.holds(body, held):
            raise msgspec.DecodeError("a record names a field twice")
        admitted = self._admitted(held) if self._seen else held
        if self._written is not None:
            columns = [
                self._column([*map(get, admitted)], cover, is_sent) for get, cover, is_sent in self._columns
            ]
            return [*map(self._written, *columns)], len(held)
        for name in self._unsent:
            for record in admitted:
                setattr(record, name, msgspec.UNSET)
        for name, get, cover in self._masked:
            covered = _covered(cover, [*map(get, admitted)])
            for record, value in zip(admitted, covered, strict=True):
                setattr(record, name, value)
        return admitted, len(held)

    def _column(self, values: list[Any], cover: Cover | None, is_sent: bool) -> list[Any]:
        """The values of one item as they leave; `is_sent` where they are still what was sent."""
        if cover is None:
            return values
        if is_sent:
            values = [v if v is msgspec.UNSET else self._value.decode(v) for v in values]
        return _covered(cover, values)

    def lines(self, admitted: list[Any]) -> list[bytes]:
        """Each record as one line of JSON."""
        written = self._encoder.encode_lines(admitted)
        lines = written.split(b"\n")[:-1]
        if len(lines) == len(admitted) and b"\r" not in written:
            return lines
        # a line end inside a nested value that passes as its own bytes
        return [msgspec.json.format(self._encoder.encode(record), indent=-1) for record in admitted]

    def joined(self, admitted: list[Any]) -> bytes:
        """The records as JSON with commas between them."""
        return self._encoder.encode(admitted)[1:-1]

    def _admitted(self, held: list[Any]) -> list[Any]:
        """Those of the decoded records that the scope covers."""
        sent, verdicts = self._sent, self._verdicts
        try:
            if sent is not None and len(self._seen) == 1:
                return [record for record in held if verdicts[bytes(sent(record))]]
            if sent is not None:
                return [record for record in held if verdicts[tuple(map(bytes, sent(record)))]]
        except TypeError:  # a record without one of the values
            pass
        return [record for record in held if self._tested(record)]

    def _verdict(self, sent: bytes | tuple[bytes, ...]) -> bool:
        values = sent if isinstance(sent, tuple) else (sent,)
        codes = (code for code, _ in self._seen)
        return self._terms.admits(dict(zip(codes, map(self._value.decode, values), strict=True)))

    def _tested(self, record: Any) -> bool:
        seen: dict[str, object] = {}
        for code, name in self._seen:
            value = getattr(record, name)
            if value is not msgspec.UNSET:
                seen[code] = self._value.decode(value) if type(value) is msgspec.Raw else value
        return self._terms.admits(seen)


class _Once:
    """Whether the records of a page name each wanted member once; the decoder itself takes the last in silence.

    A name can be counted in the body with no decoding: as often as there are values, and none came twice. Where a name
    is in the body more often (as a value, or deeper down) or may be written with escapes, the decoder counts.
    """

    def __init__(self, place_of: Mapping[str, str], around: Sequence[str]) -> None:
        self._get = attrgetter(*place_of.values()) if place_of else None
        self._is_one = len(place_of) == 1
        self._quoted = [msgspec.json.encode(member) for member in place_of]
        self._is_plain = all(member.isascii() and member.isidentifier() for member in place_of)
        self._counted = 0
        noted = _Noted()
        record = msgspec.defstruct(
            "CountedRecord",
            [(name, _Noted, noted) for name in place_of.values()],
            rename={name: member for member, name in place_of.items()},
            gc=False,
        )

        def note(_: type, __: object) -> _Noted:
            self._counted += 1
            return noted

        self._counter = msgspec.json.Decoder(_page_of(record, around), dec_hook=note, float_hook=str)

    def holds(self, body: bytes, held: list[Any]) -> bool:
        """`held` is the page as it was decoded from `body`. Raises msgspec.DecodeError."""
        if self._get is None:
            return True
        read: Iterable[Any] = map(self._get, held)
        values = [*read] if self._is_one else [*chain.from_iterable(read)]
        present = len(values) - (0 if all(values) else sum(value is msgspec.UNSET for value in values))
        # Without escapes each value has its name in the body as it is; of a plain name every escape begins so.
        is_as_it_is = b"\\" not in body or (self._is_plain and b"\\u00" not in body)
        if is_as_it_is and sum(map(body.count, self._quoted)) == present:
            return True
        self._counted = 0
        self._counter.decode(body)
        return self._counted == present


class _Noted:
    """In place of a value that was counted."""


def compile_terms(
    terms: Terms,
    resource_id: UUID,
    *,
    mask_key: bytes,
    items: Iterable[str] | None = None,
    narrowed_by: str | None = None,
) -> CompiledTerms:
    """Compile what `terms` let through of one resource.

    `mask_key` is the agreement's own secret, at least 16 bytes. `items` narrows the content and
    `narrowed_by` (CQL2) the scope to what one call asks for; neither can widen them.
    Raises OutsideTerms where the call asks beyond the terms, ScopeInvalid where a scope cannot be read.
    """
    if len(mask_key) < 16:
        raise ValueError("the mask key must have at least 16 bytes")
    part = terms.resource(resource_id)
    if part is None:
        raise OutsideTerms(())
    wanted = {item.code for item in part.items} if items is None else set(items)
    if beyond := wanted - {item.code for item in part.items}:
        raise OutsideTerms(beyond)
    condition = parse_scope(part.scope) if part.scope is not None else None
    if narrowed_by is not None:
        narrower = parse_scope(narrowed_by)
        visible = {item.code for item in part.items if item.can_be_filtered_on}
        if hidden := items_of(narrower) - visible:
            raise OutsideTerms(hidden)
        condition = narrower if condition is None else Both((condition, narrower))
    return CompiledTerms(tuple(item for item in part.items if item.code in wanted), condition, mask_key)


def compile_question(terms: Terms, resource_id: UUID, values: Mapping[str, object]) -> CompiledTerms:
    """Compile the question whether a record within the scope has all of these `values` (核验). Masks say nothing
    here: what the requester names itself is compared, and no value leaves.

    Values are as CQL2 JSON writes them: text, number, truth value, {"date": …}, {"timestamp": …}.
    Raises OutsideTerms for items that are not agreed, ScopeInvalid for what is no value.
    """
    part = terms.resource(resource_id)
    if part is None:
        raise OutsideTerms(())
    if beyond := values.keys() - {item.code for item in part.items}:
        raise OutsideTerms(beyond)
    asked = tuple(Comparison("=", code, value_of(value)) for code, value in values.items())
    scope = () if part.scope is None else (parse_scope(part.scope),)
    return CompiledTerms((), Both((*asked, *scope)), b"")


def _covered(cover: Cover, values: list[Any]) -> list[Any]:
    """The values of one item under its mask; what a record lacks stays lacking."""
    covered = cover_texts(cover, values)
    if covered is None:
        covered = [value if value is msgspec.UNSET else cover(value) for value in values]
    return covered


def _page_of(record: Any, around: Sequence[str]) -> Any:
    """The type of a page: a list of records below these members."""
    page: Any = list[record]
    for member in reversed(around):
        page = msgspec.defstruct("Page", [("inside", page)], rename={"inside": member})
    return page


def _exact(written: str) -> Decimal:
    try:
        return Decimal(written)
    except InvalidOperation:  # an exponent beyond any machine: comparable with nothing, masked as hidden
        return Decimal("NaN")
