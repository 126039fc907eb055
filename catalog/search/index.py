"""The search index of one node: single writer, many readers, disposable.

Owns the files under its path and the position in the change log up to which they are complete.
Refuses to answer without being told who is asking: every search takes what is visible.
Calls block on disk and processor; run them on a thread, never on an event loop. Local disk only.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tantivy
from tantivy import DocAddress, Document, FieldType, Index, IndexWriter, Occur, Query, Schema, Searcher

from app.kernel.clock import now
from catalog.search.document import (
    FACETS,
    FRESH,
    LAYOUT,
    TITLE_BEGINNING,
    SearchDocument,
    build_schema,
    halves,
    joined,
    to_tantivy,
)
from catalog.search.names import HeldNames, beginning_with
from catalog.search.query import (
    Filters,
    Tier,
    TypedText,
    UnknownFilter,
    Vocabulary,
    all_of,
    audience,
    freshness_ranges,
    matching,
    ranking,
    restriction,
    updated_within,
)
from catalog.text import bigrams, fold, is_han

Sort = Literal["relevance", "updated"]

MAX_LIMIT = 200
MAX_OFFSET = 10_000  # how deep one may page by relevance
_POSITION_ID = 0  # of the document that carries the position; no resource has such an id
_WRITER_HEAP_BYTES = 64_000_000
_REBUILD_HEAP_BYTES = (
    256_000_000  # few segments, of 150,000 resources and more: each costs something per search
)
_FACET_VALUES = 100
_SLACK = 100  # resources that may come or go before a page without disturbing it
_FACET_EXACT = 10_000  # values of a facet counted in each segment: more are not, as the commonest are shown
_SPARE_TITLES = 4  # times as many titles are looked at as are asked for
_ANCHORS = 3  # of the last shown, in case some of them go


class IndexBusy(RuntimeError):
    """Another process of this node is writing or rebuilding the index."""


@dataclass(frozen=True, slots=True)
class After:
    """Where a page ended: its place (an offset, or the last `updated`) and the last ids shown."""

    place: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of ids, and where the next begins. `facets` counts all matches by value; `relaxed` says that no resource held every word."""

    hits: tuple[str, ...]
    total: int
    facets: dict[str, dict[str, int]]
    relaxed: bool
    following: After | None


@dataclass(frozen=True, slots=True)
class Suggested:
    """What begins as typed. `names` are folded names of items with a resource that had each; `titles` are
    resources with such a title, newest first, all of which the asker may see."""

    names: tuple[tuple[str, str], ...]
    titles: tuple[str, ...]


class CatalogIndex:
    """Open with `CatalogIndex.open`; one object serves all threads of a process."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.RLock()
        self._schema = build_schema()
        self._generation = ""
        self._index: Index | None = None
        self._writer: IndexWriter | None = None

    @classmethod
    def open(cls, path: str | Path) -> CatalogIndex:
        """The index under `path`, made empty where none has this layout (then `position()` is None)."""
        home = Path(path) / LAYOUT
        home.mkdir(parents=True, exist_ok=True)
        index = cls(home)
        if not index._current():
            with index._rebuild_lock(wait=True):
                if not index._current():
                    index._switch_to(index._new_generation())
        index._reader()
        return index

    def close(self) -> None:
        """Let go of the writer, so that another process may write."""
        with self._lock:
            self._drop_writer()

    def position(self) -> str | None:
        """The position given with the last applied change; None for an index that was never filled."""
        searcher = self._reader().searcher()
        found = searcher.search(Query.term_query(self._schema, "id_high", _POSITION_ID, "basic"), 1).hits
        if not found:
            return None
        return bytes(searcher.doc(found[0][1]).get_first("position") or b"").decode()

    def apply(self, upserts: Iterable[SearchDocument], deletes: Iterable[str], position: str) -> None:
        """Write changes and the position in one commit: a crash leaves both or neither. Visible on return.

        Read `position()` before each batch: a rebuild elsewhere may have set it back.

        Raises:
            IndexBusy: another process is the writer of this node.
        """
        with self._lock:
            writer = self._open_writer()
            names = HeldNames()
            try:
                for resource_id in deletes:
                    writer.delete_documents_by_query(self._one(resource_id))
                for document in upserts:
                    writer.delete_documents_by_query(self._one(document.id))
                    writer.add_document(to_tantivy(document))
                    names.add(document)
                for key, named in names.news(self._schema, self._reader().searcher()):
                    writer.delete_documents_by_term("name_key", key)
                    writer.add_document(named)
                _commit(self._schema, writer, position)
            except BaseException:
                self._drop_writer()
                raise
            self._reader().reload()

    def rebuild(self, documents: Iterable[SearchDocument], position: str) -> int:
        """Build a new index beside the old one, then switch to it; searches go on meanwhile.

        Take `position` before reading the documents: what changes during the rebuild is then applied again.
        Returns the number of documents. Raises IndexBusy while another rebuild runs.
        """
        with self._rebuild_lock(wait=False):
            previous = self._current()
            name = self._new_generation()
            writer = Index.open(str(self._home / name)).writer(_REBUILD_HEAP_BYTES, 1)
            names = HeldNames()
            count = 0
            for document in documents:
                writer.add_document(to_tantivy(document))
                names.add(document)
                count += 1
            for named in names.documents():
                writer.add_document(named)
            _commit(self._schema, writer, position)
            writer.wait_merging_threads()
            with self._lock:
                self._drop_writer()
                self._switch_to(name)
                self._reader()
            self._sweep(keep={name, previous})
        return count

    def search(
        self,
        text: str,
        *,
        visible: Sequence[Filters],
        filters: Filters | None = None,
        facets: Sequence[str] = (),
        limit: int = 20,
        after: After | None = None,
        sort: Sort = "relevance",
    ) -> SearchResult:
        """One page of what matches `text` among what the asker may see.

        `visible` lists alternatives, one of which a resource must meet:
        `[{"published": True}, {"agency": "a1"}]` is "published, or ours"; `[{}]` is everything, `[]` nothing.
        A facet is counted without its own filter, so that its other values can still be chosen.
        Without text the newest come first.

        Raises:
            UnknownFilter: a filter or facet the index does not have.
            ValueError: limit out of range.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise ValueError(f"limit 1-{MAX_LIMIT}")
        chosen = dict(filters or {})
        schema, searcher = self._schema, self._reader().searcher()
        terms = Vocabulary(schema, searcher)
        typed = TypedText.read(text)
        seen = audience(schema, visible)
        base = all_of(seen, matching(terms, typed))
        within = all_of(base, restriction(schema, chosen))
        total, relaxed = _total(searcher.search(within, 1)), False
        if not total and len(typed.tokens) > 2:
            relaxed = True
            base = all_of(seen, matching(terms, typed, relaxed=True))
            within = all_of(base, restriction(schema, chosen))
            total = _total(searcher.search(within, 1))
        if sort == "updated" or not typed.tokens:
            hits, following = self._newest(searcher, within, limit, after)
        else:
            allowed = all_of(seen, restriction(schema, chosen))
            tiers = ranking(terms, typed, within, relaxed=relaxed)
            hits, following = _best(searcher, allowed, tiers, total, limit, after)
        counts = self._count_facets(searcher, base, chosen, facets)
        return SearchResult(hits, total, counts, relaxed and bool(hits), following)

    def _newest(
        self, searcher: Searcher, within: Query, limit: int, after: After | None
    ) -> tuple[tuple[str, ...], After | None]:
        """The page of what was changed last, by a key that no two resources share: it starts below the last one."""
        if after is not None:
            within = all_of(within, updated_within(self._schema, None, after.place))
        found = searcher.search(within, limit, order_by_field="updated")
        more = _total(found) > limit
        hits = tuple(_ids(searcher, [address for _, address in found.hits]))
        return hits, After(int(found.hits[-1][0]), ()) if more else None

    def match(self, text: str, *, visible: Sequence[Filters], limit: int = MAX_OFFSET) -> list[str]:
        """Ids of the resources among those the asker may see that hold every word, best first, `limit` at most;
        for readers that sort and count by what only the database knows."""
        schema, searcher = self._schema, self._reader().searcher()
        terms = Vocabulary(schema, searcher)
        typed = TypedText.read(text)
        if not typed.tokens:
            return []
        seen = audience(schema, visible)
        tiers = ranking(terms, typed, all_of(seen, matching(terms, typed)))
        return _in_tiers(searcher, seen, tiers, 0, limit)

    def _one(self, resource_id: str) -> Query:
        """The document of a resource."""
        high, low = halves(resource_id)
        first = Query.term_query(self._schema, "id_high", high, "basic")
        second = Query.range_query(self._schema, "id_low", FieldType.Unsigned, low, low)
        return Query.boolean_query([(Occur.Must, first), (Occur.Must, second)])

    def suggest(self, prefix: str, *, visible: Sequence[Filters], limit: int = 8) -> Suggested:
        """What begins with `prefix`, or whose pinyin initials do: names of items, most held first, and titles.
        A code is completed by nothing, but found whole."""
        typed = fold(prefix[:64])
        if not typed:
            return Suggested((), ())
        schema, searcher = self._schema, self._reader().searcher()
        names = beginning_with(schema, searcher, typed, visible=visible, limit=limit)
        begun = [(Occur.Must, Query.term_query(schema, "title_begins", typed[:TITLE_BEGINNING], "basic"))]
        if len(typed) > TITLE_BEGINNING:  # what can be said of the rest: it stands in the title somewhere
            pairs = [token for token in bigrams(typed) if is_han(token[0])]
            begun += [(Occur.Must, Query.term_query(schema, "title", pair, "basic")) for pair in pairs]
        whole = Query.term_query(schema, "exact_title", typed, "basic")
        either = Query.boolean_query([(Occur.Should, Query.boolean_query(begun)), (Occur.Should, whole)])
        wanted = all_of(audience(schema, visible), either)
        found = searcher.search(wanted, limit * _SPARE_TITLES, order_by_field="updated", count=False)
        return Suggested(tuple(names), tuple(_ids(searcher, [address for _, address in found.hits])))

    def holder(self, name: str, *, visible: Sequence[Filters]) -> str | None:
        """A resource that has an item of this folded name, among those the asker may see."""
        searcher = self._reader().searcher()
        held = Query.term_query(self._schema, "item", name, "basic")
        found = searcher.search(all_of(audience(self._schema, visible), held), 1, count=False)
        return next(iter(_ids(searcher, [address for _, address in found.hits])), None)

    def _count_facets(
        self, searcher: Searcher, base: Query, chosen: Filters, facets: Sequence[str]
    ) -> dict[str, dict[str, int]]:
        unknown = [name for name in facets if name not in FACETS and name != FRESH]
        if unknown:
            raise UnknownFilter(unknown[0])
        groups: dict[str, list[str]] = {}  # the filter left out -> facets counted without it
        for name in facets:
            groups.setdefault(name if name in chosen else "", []).append(name)
        counts: dict[str, dict[str, int]] = {}
        for left_out, names in groups.items():
            others = {name: value for name, value in chosen.items() if name != left_out}
            wanted = {name: _counting(name) for name in names}
            answer = searcher.aggregate(all_of(base, restriction(self._schema, others)), wanted)
            for name in names:
                counts[name] = {
                    str(b["key"]): int(b["doc_count"]) for b in answer[name]["buckets"] if b["doc_count"]
                }
        return {name: counts[name] for name in facets}

    def _reader(self) -> Index:
        """The current generation, opened anew after another process has switched it."""
        name = self._current()
        with self._lock:
            if self._index is None or name != self._generation:
                self._drop_writer()
                self._index = Index.open(str(self._home / name))
                self._generation = name
            return self._index

    def _open_writer(self) -> IndexWriter:
        index = self._reader()
        if self._writer is None:
            try:
                self._writer = index.writer(_WRITER_HEAP_BYTES, 1)
            except ValueError as error:
                if "LockBusy" in str(error):
                    raise IndexBusy(str(self._home)) from None
                raise
        return self._writer

    def _drop_writer(self) -> None:
        """Discard what was not committed; the writer's lock is freed with it."""
        self._writer = None

    def _current(self) -> str:
        try:
            return (self._home / "current").read_text("utf-8")
        except FileNotFoundError:
            return ""

    def _new_generation(self) -> str:
        folder = Path(tempfile.mkdtemp(prefix="index-", dir=self._home))
        Index(self._schema, path=str(folder))
        return folder.name

    def _switch_to(self, name: str) -> None:
        pointer = self._home / "current.new"
        with pointer.open("w", encoding="utf-8") as file:
            file.write(name)
            file.flush()
            os.fsync(file.fileno())
        pointer.replace(self._home / "current")

    def _sweep(self, keep: set[str]) -> None:
        """Remove older generations, keeping the previous one for readers that have not switched yet."""
        for folder in self._home.glob("index-*"):
            if folder.name not in keep:
                shutil.rmtree(folder, ignore_errors=True)
        for layout in self._home.parent.glob("schema-*"):
            if layout != self._home:
                shutil.rmtree(layout, ignore_errors=True)

    @contextmanager
    def _rebuild_lock(self, *, wait: bool) -> Iterator[None]:
        """Held by the kernel for this process, so that a killed rebuild leaves no lock behind."""
        with (self._home / "rebuild.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise IndexBusy(str(self._home)) from None
            yield


def _best(
    searcher: Searcher, allowed: Query, tiers: Sequence[Tier], total: int, limit: int, after: After | None
) -> tuple[tuple[str, ...], After | None]:
    """The page of what ranks best. It starts behind the last ones shown, looked for around their place, so
    that what appears or goes meanwhile neither repeats nor hides anything."""
    place = after.place if after else 0
    start = max(0, place - _SLACK)
    near = _in_tiers(searcher, allowed, tiers, start, place - start + limit + (_SLACK if after else 0))
    begin = place - start
    if after:
        begin = max((n + 1 for n, found in enumerate(near) if found in after.ids), default=begin)
    hits = tuple(near[begin : begin + limit])
    end = start + begin + len(hits)
    more = end < min(total, MAX_OFFSET)
    return hits, After(end, hits[-_ANCHORS:]) if more and hits else None


def _in_tiers(
    searcher: Searcher, allowed: Query, tiers: Sequence[Tier], start: int, wanted: int
) -> list[str]:
    """`wanted` ids from the place `start` of the tiers one after the other. No tier is asked that is not reached."""
    ids: list[str] = []
    before: list[tuple[Occur, Query]] = []
    for n, tier in enumerate(tiers):
        if tier.at_most is not None:
            holding = all_of(allowed, tiers[n + 1].query)
            if _total(searcher.search(holding, 1)) > tier.at_most:
                continue
        query = Query.boolean_query([(Occur.Must, allowed), (Occur.Must, tier.query), *before])
        found = searcher.search(query, wanted - len(ids), offset=start, order_by_field=tier.order)
        known = _ids(searcher, [address for _, address in found.hits])
        placed = sorted(zip(known, found.hits, strict=True), key=lambda one: (-one[1][0], one[0]))
        ids += [resource_id for resource_id, _ in placed]
        if len(ids) >= wanted:
            break
        start = max(0, start - _total(found))
        before.append((Occur.MustNot, tier.query))
    return ids


def _counting(facet: str) -> dict[str, Any]:
    """How tantivy is asked to count a facet."""
    if facet != FRESH:
        return {"terms": {"field": facet, "size": _FACET_VALUES, "segment_size": _FACET_EXACT}}
    ranges = [
        {"key": name} | {end: bound for end, bound in (("from", lower), ("to", upper)) if bound is not None}
        for name, (lower, upper) in freshness_ranges(now()).items()
    ]
    return {"range": {"field": "updated", "ranges": ranges}}


def _ids(searcher: Searcher, addresses: list[DocAddress]) -> list[str]:
    """The resources at these addresses, read from columns."""
    high, low = (searcher.fast_field_values(half, addresses) for half in ("id_high", "id_low"))
    return [joined(int(h or 0), int(w or 0)) for h, w in zip(high, low, strict=True)]


def _total(found: tantivy.SearchResult) -> int:
    return int(found.count)  # type: ignore[attr-defined]  # the package's stub leaves it out


def _commit(schema: Schema, writer: IndexWriter, position: str) -> None:
    # By query: deleting by term takes every number for a signed one, and finds nothing.
    writer.delete_documents_by_query(Query.term_query(schema, "id_high", _POSITION_ID, "basic"))
    carrier = Document()
    carrier.add_bytes("position", position.encode())
    carrier.add_unsigned("id_high", _POSITION_ID)
    writer.add_document(carrier)
    writer.commit()
