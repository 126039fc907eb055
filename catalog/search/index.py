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
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import tantivy
from tantivy import DocAddress, Document, Index, IndexWriter, Occur, Query, Schema, Searcher

from app.kernel.clock import now
from catalog.search.document import (
    FACETS,
    FRESH,
    LAYOUT,
    SearchDocument,
    build_schema,
    packed,
    to_tantivy,
    unpacked,
)
from catalog.search.query import (
    Filters,
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
from catalog.text import fold

Sort = Literal["relevance", "updated"]

MAX_LIMIT = 200
MAX_OFFSET = 10_000  # how deep one may page by relevance
_POSITION_ID = "\x00position"  # the document that carries the position; no resource has such an id
_WRITER_HEAP_BYTES = 64_000_000
_REBUILD_BATCH = 20_000  # documents a commit, which bounds memory
_FACET_VALUES = 100
_SLACK = 100  # resources that may come or go before a page without disturbing it
_LEAST_INITIALS = 2  # one letter begins a twentieth of all names: too many to count for each reader
_ANCHORS = 3  # of the last shown, in case some of them go


class IndexBusy(RuntimeError):
    """Another process of this node is writing or rebuilding the index."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A resource found; scores compare within one search only (0 when sorted by something else)."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class After:
    """Where a page ended: its place (an offset, or the last `updated`) and the last ids shown."""

    place: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page, and where the next begins. `facets` counts all matches by value; `relaxed` says that no resource held every word."""

    hits: tuple[Hit, ...]
    total: int
    facets: dict[str, dict[str, int]]
    relaxed: bool
    following: After | None


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
        found = searcher.search(Query.term_query(self._schema, "id", _POSITION_ID, "basic"), 1).hits
        if not found:
            return None
        return str(searcher.doc(found[0][1]).get_first("position"))

    def apply(self, upserts: Iterable[SearchDocument], deletes: Iterable[str], position: str) -> None:
        """Write changes and the position in one commit: a crash leaves both or neither. Visible on return.

        Read `position()` before each batch: a rebuild elsewhere may have set it back.

        Raises:
            IndexBusy: another process is the writer of this node.
        """
        with self._lock:
            writer = self._open_writer()
            try:
                for resource_id in deletes:
                    writer.delete_documents_by_term("id", packed(resource_id))
                for document in upserts:
                    writer.delete_documents_by_term("id", packed(document.id))
                    writer.add_document(to_tantivy(document))
                _commit(writer, position)
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
            writer = Index.open(str(self._home / name)).writer(_WRITER_HEAP_BYTES, 1)
            count = 0
            stream = iter(documents)
            while batch := list(islice(stream, _REBUILD_BATCH)):
                for document in batch:
                    writer.add_document(to_tantivy(document))
                writer.commit()
                count += len(batch)
            _commit(writer, position)
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
        seen = _seen(schema, visible)
        base = all_of(seen, matching(terms, typed))
        within = all_of(base, restriction(schema, chosen))
        relaxed = False
        if len(typed.tokens) > 2 and _total(searcher.search(within, 1)) == 0:
            relaxed = True
            base = all_of(seen, matching(terms, typed, relaxed=True))
            within = all_of(base, restriction(schema, chosen))
        order = ranking(terms, typed) if sort == "relevance" else None
        if order is None:
            hits, total, following = self._newest(searcher, within, limit, after)
        else:
            hits, total, following = self._best(searcher, within, order, limit, after)
        counts = self._count_facets(searcher, base, chosen, facets)
        return SearchResult(hits, total, counts, relaxed and bool(hits), following)

    def _newest(
        self, searcher: Searcher, within: Query, limit: int, after: After | None
    ) -> tuple[tuple[Hit, ...], int, After | None]:
        """The page of what was changed last, by a key that no two resources share: it starts below the last one."""
        rest = within
        if after is not None:
            rest = all_of(within, updated_within(self._schema, None, after.place))
        found = searcher.search(rest, limit, order_by_field="updated")
        total = _total(found) if after is None else _total(searcher.search(within, 1))
        hits = tuple(Hit(_id(searcher, address), 0.0) for _, address in found.hits)
        more = _total(found) > limit
        return hits, total, After(int(found.hits[-1][0]), ()) if more else None

    def _best(
        self, searcher: Searcher, within: Query, order: Query, limit: int, after: After | None
    ) -> tuple[tuple[Hit, ...], int, After | None]:
        """The page of what ranks best. It starts behind the last ones shown, looked for around their place, so
        that what appears or goes meanwhile neither repeats nor hides anything."""
        scored = Query.boolean_query([(Occur.Must, within), (Occur.Should, order)])
        place = after.place if after else 0
        start = max(0, place - _SLACK)
        wanted = place - start + limit + (_SLACK if after else 0)
        found = searcher.search(scored, wanted, offset=start, weight_by_field="tie")
        near = sorted(
            (Hit(_id(searcher, address), float(score)) for score, address in found.hits),
            key=lambda hit: (-hit.score, hit.id),
        )
        begin = place - start
        if after:
            begin = max((n + 1 for n, hit in enumerate(near) if hit.id in after.ids), default=begin)
        hits = tuple(near[begin : begin + limit])
        end = start + begin + len(hits)
        more = end < min(_total(found), MAX_OFFSET)
        last = tuple(hit.id for hit in hits[-_ANCHORS:])
        return hits, _total(found), After(end, last) if more and hits else None

    def match(self, text: str, *, visible: Sequence[Filters], limit: int = MAX_OFFSET) -> list[str]:
        """Ids of the resources among those the asker may see that hold every word, best first, `limit` at most;
        for readers that sort and count by what only the database knows."""
        schema, searcher = self._schema, self._reader().searcher()
        terms = Vocabulary(schema, searcher)
        typed = TypedText.read(text)
        order = ranking(terms, typed)
        if order is None:
            return []
        within = all_of(audience(schema, visible), matching(terms, typed))
        scored = Query.boolean_query([(Occur.Must, within), (Occur.Should, order)])
        return [_id(searcher, address) for _, address in searcher.search(scored, limit, count=False).hits]

    def suggest(self, prefix: str, *, visible: Sequence[Filters], limit: int = 8) -> list[tuple[str, str]]:
        """Folded names (titles, codes, items) that begin with `prefix`, or whose pinyin initials do, most frequent
        first, each with the id of a resource the asker may see that has it."""
        key = fold(prefix[:64])
        if not key:
            return []
        searcher, seen = self._reader().searcher(), _seen(self._schema, visible)
        names: dict[str, int] = {}
        for field in ("exact_title", "item", "pinyin"):
            if field == "pinyin" and (not key.isascii() or len(key) < _LEAST_INITIALS):
                continue
            for term, count in searcher.terms_with_prefix(field, key, seen, limit * 4):
                name = term.partition("\t")[2] if field == "pinyin" else term
                names[name] = max(count, names.get(name, 0))
        best = sorted(names, key=lambda name: (-names[name], len(name), name))[:limit]
        found: list[tuple[str, str]] = []
        for name in best:
            held = [Query.term_query(self._schema, field, name, "basic") for field in ("exact_title", "item")]
            either = Query.boolean_query([(Occur.Should, one) for one in held])
            hits = searcher.search(all_of(seen, either), 1, count=False).hits
            found += [(name, _id(searcher, address)) for _, address in hits]
        return found

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


def _seen(schema: Schema, visible: Sequence[Filters]) -> Query:
    """What the asker may see, without the document that carries the position."""
    position = Query.term_query(schema, "id", _POSITION_ID, "basic")
    return Query.boolean_query([(Occur.Must, audience(schema, visible)), (Occur.MustNot, position)])


def _counting(facet: str) -> dict[str, Any]:
    """How tantivy is asked to count a facet."""
    if facet != FRESH:
        return {"terms": {"field": facet, "size": _FACET_VALUES}}
    ranges = [
        {"key": name} | {end: bound for end, bound in (("from", lower), ("to", upper)) if bound is not None}
        for name, (lower, upper) in freshness_ranges(now()).items()
    ]
    return {"range": {"field": "updated", "ranges": ranges}}


def _id(searcher: Searcher, address: DocAddress) -> str:
    return unpacked(str(searcher.doc(address).get_first("id")))


def _total(found: tantivy.SearchResult) -> int:
    return int(found.count)  # type: ignore[attr-defined]  # the package's stub leaves it out


def _commit(writer: IndexWriter, position: str) -> None:
    writer.delete_documents_by_term("id", _POSITION_ID)
    writer.add_document(Document(id=_POSITION_ID, position=position))
    writer.commit()
