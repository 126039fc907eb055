"""The names of items that suggestions are made of: one small document for each name and class of readers.

Owns how often a name is said to be held, exact when the index is built and afterwards to a factor of about two.
Counts are of what a class of readers sees, so that nothing hidden moves a name; who may see it is asked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tantivy import Document, Occur, Query, Schema, Searcher

from catalog.search.document import SearchDocument, folded_items
from catalog.search.query import Filters, restriction
from catalog.text import beginnings, begins

LONGEST_BEGINNING = 8  # characters
_SPARE = 8  # times as many names are looked at as are asked for
_PUBLISHED, _OPEN, _WITHHELD, _OF_AGENCY, _OF_PLACE = "p", "o", "w", "a", "j"


def _classes(document: SearchDocument) -> list[str]:
    """The classes of readers that see the resource. What is published counts for everybody who is signed in."""
    if document.published:
        return [_PUBLISHED, _OPEN] if document.open else [_PUBLISHED]
    return [_WITHHELD, _OF_AGENCY + document.agency_id, _OF_PLACE + document.jurisdiction]


def _classes_seen(visible: Sequence[Filters]) -> list[str]:
    """The classes that cover what a reader sees; agencies and places add what is withheld from the others."""
    classes: list[str] = []
    for filters in visible:
        if "open" in filters:
            classes.append(_OPEN)
        elif "published" in filters:
            classes.append(_PUBLISHED)
        elif not filters:
            classes += [_PUBLISHED, _WITHHELD]
        for name, mark in (("agency", _OF_AGENCY), ("jurisdiction", _OF_PLACE)):
            values = filters.get(name, ())
            classes += [mark + value for value in ([values] if isinstance(values, str) else values)]  # type: ignore[union-attr]
    return classes


def _filters_of(of_class: str) -> Filters:
    mark, value = of_class[0], of_class[1:]
    if mark == _PUBLISHED:
        return {"published": True}
    if mark == _OPEN:
        return {"open": True}
    narrowed = {_OF_AGENCY: {"agency": value}, _OF_PLACE: {"jurisdiction": value}}
    return {"published": False, **narrowed.get(mark, {})}


@dataclass(slots=True)
class HeldNames:
    """How many resources of those added hold each name, by class, and the first of them."""

    counts: dict[str, int] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)

    def add(self, document: SearchDocument) -> None:
        names = folded_items(document)
        for of_class in _classes(document):
            counts, holders = self.counts, self.holders
            for name in names:
                key = f"{of_class}\t{name}"
                held = counts.get(key)
                if held is None:
                    counts[key], holders[key] = 1, document.id
                else:
                    counts[key] = held + 1

    def documents(self) -> Iterator[Document]:
        """The documents of all of them, for an index that has none yet."""
        for key, count in self.counts.items():
            yield _document(key, count, self.holders[key])

    def news(self, schema: Schema, searcher: Searcher) -> Iterator[tuple[str, Document]]:
        """Keys and documents to be written where some of these names are new to the index, or where so many
        more resources hold one that it is counted again."""
        for key, added in self.counts.items():
            of_class, _, name = key.partition("\t")
            count = added
            if searcher.doc_freq("name_key", key):
                held = searcher.doc_freq("item", name)
                if held.bit_length() == (held + added).bit_length():
                    continue
                holding = Query.term_query(schema, "item", name, "basic")
                seen = restriction(schema, _filters_of(of_class))
                both = Query.boolean_query([(Occur.Must, holding), (Occur.Must, seen)])
                count += int(searcher.search(both, 1).count)  # type: ignore[attr-defined]
            yield key, _document(key, count, self.holders[key])


def _document(key: str, count: int, holder: str) -> Document:
    of_class, _, name = key.partition("\t")
    begun = [f"{of_class}\t{part}" for part in beginnings(name, LONGEST_BEGINNING)]
    made = Document(name_key=key, name_begins=begun)
    made.add_bytes("name", f"{name}\t{holder}".encode())
    made.add_unsigned("held", count)
    return made


def beginning_with(
    schema: Schema, searcher: Searcher, typed: str, *, visible: Sequence[Filters], limit: int
) -> list[tuple[str, str]]:
    """Names of items that begin so, or whose pinyin initials do, most held first, each with a resource that had
    it when it was counted: ask again whether it has and whether the reader may see it."""
    terms = [f"{of_class}\t{typed[:LONGEST_BEGINNING]}" for of_class in _classes_seen(visible)]
    asked = Query.term_set_query(schema, "name_begins", terms)
    found = searcher.search(asked, limit * _SPARE, order_by_field="held", count=False)
    names: dict[str, str] = {}
    for _, address in found.hits:
        name, _, holder = bytes(searcher.doc(address).get_first("name") or b"").decode().partition("\t")
        if begins(name, typed):
            names.setdefault(name, holder)
    return list(names.items())[:limit]
