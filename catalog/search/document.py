"""What the search index knows of a resource, and how it is laid out in tantivy.

Owns the index schema and its version. Refuses to hold anything that a search does not need:
PostgreSQL is the truth and the index is disposable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from tantivy import Document, Schema, SchemaBuilder

from catalog.text import NORMALISATION_VERSION, bigrams, characters, fold, initials

SCHEMA_VERSION = 1
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
    "state",
)
FLAGS = ("open", "published")
SEPARATOR = "|"  # stands between items as a token, so that no phrase runs from one item into the next
_SUGGESTION_LIMIT = 120  # characters of a title worth completing


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
    state: str = ""


def build_schema() -> Schema:
    """Text fields hold tokens already cut by `catalog.text`, so tantivy only splits at spaces."""
    builder = SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("position", stored=True, tokenizer_name="raw", index_option="basic")
    for name in ("title", "items", "body"):
        builder.add_text_field(name, tokenizer_name="whitespace", index_option="position")
    builder.add_text_field("all", tokenizer_name="whitespace", index_option="basic")
    for name in ("exact_title", "exact_item", "exact_code", "suggestion"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    for name in FACETS:
        builder.add_text_field(name, fast=True, tokenizer_name="raw", index_option="basic")
    for name in FLAGS:
        builder.add_boolean_field(name, indexed=True)
    builder.add_integer_field("updated", fast=True)
    return builder.build()


def to_tantivy(document: SearchDocument) -> Document:
    """The document as the index stores it: tokens, exact folded names, facet values and suggestions."""
    title = f"{document.title} {document.title_en}"
    body = " ".join((document.abstract, *document.keywords, document.agency_name, document.code))
    everything = " ".join((title, body, *document.items))
    facets: dict[str, list[str]] = {
        "jurisdiction": [document.jurisdiction],
        "agency": [document.agency_id],
        "sharing_type": [document.sharing_type],
        "openness": [document.openness],
        "theme": list(document.themes),
        "base_library": [document.base_library],
        "update_cycle": [document.update_cycle],
        "format": [document.format],
        "state": [document.state],
    }
    return Document(
        id=document.id,
        title=_tokens(title, title),
        items=_tokens(f" {SEPARATOR} ".join(document.items), " ".join(document.items)),
        body=" ".join(bigrams(body)),
        all=" ".join(dict.fromkeys([*bigrams(everything), *characters(everything)])),
        exact_title=[fold(name) for name in (document.title, document.title_en) if name],
        exact_item=[fold(item) for item in document.items],
        exact_code=fold(document.code),
        suggestion=sorted(set(_suggestions(document))),
        open=document.open,
        published=document.published,
        updated=int(document.updated_at.timestamp()),
        **{name: [value for value in values if value] for name, values in facets.items()},
    )


def _tokens(text: str, alone: str) -> str:
    """Bigrams in order, then single characters: one-character searches match, phrases stay undisturbed."""
    parts = [" ".join(bigrams(part)) for part in text.split(f" {SEPARATOR} ")]
    return f" {SEPARATOR} ".join([*parts, " ".join(characters(alone))])


def _suggestions(document: SearchDocument) -> Iterator[str]:
    """`key TAB name`: the key is what people type (folded name, pinyin initials), the name what is shown."""
    for name in (document.title, document.title_en, *document.items):
        shown = " ".join(name.split())[:_SUGGESTION_LIMIT]
        for key in {fold(shown), initials(shown)}:
            if key:
                yield f"{key}\t{shown}"
