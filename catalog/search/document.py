"""What the search index knows of a resource, and how it is laid out in tantivy.

Owns the index schema and its version. Refuses to hold anything that a search does not need:
PostgreSQL is the truth and the index is disposable.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from tantivy import Document, Schema, SchemaBuilder

from catalog.text import NORMALISATION_VERSION, Cut, beginnings, cut

SCHEMA_VERSION = 4
LAYOUT = f"schema-{SCHEMA_VERSION}-text-{NORMALISATION_VERSION}"

# Fields with a closed list of values: each can filter and be counted as a facet.
FACETS = (
    "jurisdiction",
    "agency",
    "sharing_type",
    "openness",
    "theme",
    "base_library",
    "update_cycle",
    "format",
    "mode",
    "grade",
    "state",
)
FRESH = "freshness"  # counted and filtered by the time of the last change, not stored
FLAGS = ("open", "published")
TITLE_BEGINNING = 5  # characters by which titles are suggested
_TIE_BITS = 11
_LONGEST_TITLE = 63  # characters; longer ones stand as one
_FIRST_HOUR = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchDocument:
    """One resource (信息资源) as search sees it; values of the closed lists are the catalog's own codes.

    `published` and `open` decide who may see it together with `agency_id`; an empty code means "not stated".
    """

    id: str
    title: str
    agency_id: str
    agency_name: str
    published: bool
    open: bool
    updated_at: datetime
    code: str = ""
    title_en: str = ""
    abstract: str = ""
    items: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    jurisdiction: str = ""
    sharing_type: str = ""
    openness: str = ""
    themes: tuple[str, ...] = ()
    base_library: str = ""
    update_cycle: str = ""
    format: str = ""
    mode: str = ""
    grade: str = ""
    state: str = ""


def build_schema() -> Schema:
    """Text fields hold tokens already cut by `catalog.text`, so tantivy only splits at spaces.

    Sized for a million resources: a token stands in `named` (titles, items) or in `body` (all else), never in
    both; positions are kept of titles alone; ids are two integers, which need no text of their own.
    The documents of `names` and the one that carries the position have none of the flags, so that no
    audience sees them.
    """
    builder = SchemaBuilder()
    builder.add_unsigned_field("id_high", indexed=True, fast=True)
    builder.add_unsigned_field("id_low", fast=True)
    builder.add_text_field("title", tokenizer_name="whitespace", index_option="position")
    for name in ("named", "body"):
        builder.add_text_field(name, tokenizer_name="whitespace", index_option="basic")
    for name in ("exact_title", "item", "title_begins", "name_key", "name_begins"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    for name in ("position", "name"):
        builder.add_bytes_field(name, stored=True)
    builder.add_unsigned_field("held", fast=True)
    for name in FACETS:
        builder.add_text_field(name, fast=True, tokenizer_name="raw", index_option="basic")
    for name in FLAGS:
        builder.add_boolean_field(name, indexed=True)
    builder.add_integer_field("updated", fast=True)
    builder.add_unsigned_field("standing", fast=True)
    return _without_norms(builder.build())


def _without_norms(schema: Schema) -> Schema:
    """The schema without the length of every text: a byte a field and document, asked by no search, as nothing is
    ranked by score. The builder cannot say so; what a pickled schema holds can."""
    rebuild, (described,) = cast("tuple[Callable[[Any], Schema], tuple[Any]]", schema.__reduce__())
    for field in described["inner"]:
        if field["type"] == "text":
            field["options"]["indexing"]["fieldnorms"] = False
    return rebuild(described)


def to_tantivy(document: SearchDocument) -> Document:
    """The document as the index stores it: tokens, whole folded names and facet values."""
    titles = [cut(name, is_name=False) for name in (document.title, document.title_en) if name]
    code = cut(document.code, is_name=False) if document.code else None
    items = [cut(name) for name in document.items]
    named: dict[str, None] = {}
    for part in (*titles, *items):
        named.update(part.distinct)
    body = dict(cut(document.abstract, is_name=False).distinct)
    for part in (cut(document.agency_name), *map(cut, document.keywords), *([code] if code else ())):
        body.update(part.distinct)
    facets: dict[str, str | list[str]] = {
        "jurisdiction": document.jurisdiction,
        "agency": document.agency_id,
        "sharing_type": document.sharing_type,
        "openness": document.openness,
        "theme": list(document.themes),
        "base_library": document.base_library,
        "update_cycle": document.update_cycle,
        "format": document.format,
        "mode": document.mode,
        "grade": document.grade,
        "state": document.state,
    }
    chance = zlib.crc32(document.id.encode())
    begun = dict.fromkeys([part for name in titles for part in beginnings(name.folded, TITLE_BEGINNING)])
    made = Document(
        title=" ".join([token for part in titles for token in (*part.tokens, *part.endings)]),
        named=" ".join(named),
        body=" ".join([token for token in body if token not in named]),
        exact_title=[part.folded for part in (*titles, *([code] if code else ()))],
        title_begins=list(begun),
        item=list(dict.fromkeys([part.folded for part in items])),
        open=document.open,
        published=document.published,
        updated=moment_key(document.updated_at) | chance & (1 << _TIE_BITS) - 1,
        **{name: value for name, value in facets.items() if value},
    )
    high, low = halves(document.id)
    made.add_unsigned("id_high", high)
    made.add_unsigned("id_low", low)
    made.add_unsigned("standing", _standing(document.updated_at, titles, chance))
    return made


def _standing(updated_at: datetime, titles: Sequence[Cut], chance: int) -> int:
    """What orders titles that meet a search alike: the shorter, then the newer to the hour, then by chance."""
    brevity = _LONGEST_TITLE - min(_LONGEST_TITLE, *(len(title.folded) for title in titles))
    hours = max(0, int((updated_at - _FIRST_HOUR).total_seconds()) // 3600)
    return brevity << 28 | hours << 8 | chance & 255


def folded_items(document: SearchDocument) -> list[str]:
    """The names of its items as they are compared, each once."""
    return list(dict.fromkeys([cut(name).folded for name in document.items]))


def halves(resource_id: str) -> tuple[int, int]:
    """A UUID as the index holds it: the first and the last 64 bits."""
    return divmod(UUID(resource_id).int, 1 << 64)


def joined(high: int, low: int) -> str:
    """The id that `halves` was given."""
    return str(UUID(int=high << 64 | low))


def moment_key(moment: datetime) -> int:
    """The least `updated` of a resource changed at `moment`; below it are bits that set apart what changed at once."""
    return int(moment.timestamp() * 1_000_000) << _TIE_BITS
