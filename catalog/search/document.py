"""What the search index knows of a resource, and how it is laid out in tantivy.

Owns the index schema and its version. Refuses to hold anything that a search does not need:
PostgreSQL is the truth and the index is disposable.
"""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from tantivy import Document, Schema, SchemaBuilder

from catalog.text import NORMALISATION_VERSION, cut, fold, initials

SCHEMA_VERSION = 2
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
_PACKED_LENGTH = 22
_TIE_BITS = 11
_TIE_SPREAD = 0.01  # of a score: orders what ranks alike, too small to reorder anything else


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

    Sized for a million resources: positions are kept of titles alone, items are known by their whole names.
    """
    builder = SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("position", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("title", tokenizer_name="whitespace", index_option="position")
    builder.add_text_field("all", tokenizer_name="whitespace", index_option="basic")
    for name in ("exact_title", "item", "pinyin"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    for name in FACETS:
        builder.add_text_field(name, fast=True, tokenizer_name="raw", index_option="basic")
    for name in FLAGS:
        builder.add_boolean_field(name, indexed=True)
    builder.add_integer_field("updated", fast=True)
    builder.add_float_field("tie", fast=True)
    return builder.build()


def to_tantivy(document: SearchDocument) -> Document:
    """The document as the index stores it: tokens, whole folded names, pinyin initials and facet values."""
    titles = [cut(name) for name in (document.title, document.title_en) if name]
    items = [cut(name) for name in document.items]
    rest = [
        cut(part)
        for part in (document.abstract, *document.keywords, document.agency_name, document.code)
        if part
    ]
    everything: dict[str, None] = {}
    for part in (*titles, *items, *rest):
        everything.update(part.distinct)
    values: dict[str, str | list[str]] = {
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
    exact_titles = [name.folded for name in titles]
    if document.code:
        exact_titles.append(fold(document.code))
    return Document(
        id=packed(document.id),
        title=" ".join(
            [*(t for part in titles for t in part.tokens), *(e for part in titles for e in part.endings)]
        ),
        all=" ".join(everything),
        exact_title=exact_titles,
        item=[item.folded for item in items],
        pinyin=[*map(_pinyin, (document.title, *document.items))],
        open=document.open,
        published=document.published,
        updated=moment_key(document.updated_at) | zlib.crc32(document.id.encode()) & (1 << _TIE_BITS) - 1,
        tie=zlib.crc32(document.id.encode()) / 2**32 * _TIE_SPREAD,
        **{name: value for name, value in values.items() if value},
    )


def packed(resource_id: str) -> str:
    """A UUID in 22 characters, as the index holds ids; anything else as it is."""
    try:
        return urlsafe_b64encode(UUID(resource_id).bytes).decode().rstrip("=")
    except ValueError:
        return resource_id


def unpacked(stored: str) -> str:
    """The id that `packed` was given."""
    if len(stored) != _PACKED_LENGTH:
        return stored
    return str(UUID(bytes=urlsafe_b64decode(stored + "==")))


def moment_key(moment: datetime) -> int:
    """The least `updated` of a resource changed at `moment`; below it are bits that set apart what changed at once."""
    return int(moment.timestamp() * 1_000_000) << _TIE_BITS


@lru_cache(maxsize=65536)
def _pinyin(name: str) -> str:
    """`initials TAB folded name`: what people type, and the name it stands for."""
    return f"{initials(name)}\t{cut(name).folded}"
