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
from typing import Literal

import tantivy
from tantivy import Document, Index, IndexWriter, Occur, Query, Searcher

from catalog.search.document import (
    FACETS,
    LAYOUT,
    SearchDocument,
    build_schema,
    to_tantivy,
)
from catalog.search.query import (
    Filters,
    TypedText,
    UnknownFilter,
    all_of,
    audience,
    matching,
    ranking,
    restriction,
)
from catalog.text import fold

Sort = Literal["relevance", "updated"]

MAX_LIMIT = 200
MAX_OFFSET = 10_000
_POSITION_ID = "\x00position"  # the document that carries the position; no resource has such an id
_WRITER_HEAP_BYTES = 64_000_000
_REBUILD_BATCH = 20_000  # documents a commit, which bounds memory
_FACET_VALUES = 100


class IndexBusy(RuntimeError):
    """Another process of this node is writing or rebuilding the index."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A resource found; scores compare within one search only (0 when sorted by something else)."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page. `facets` counts all matches by value; `relaxed` says that no resource held every word."""

    hits: tuple[Hit, ...]
    total: int
    facets: dict[str, dict[str, int]]
    relaxed: bool


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
                    writer.delete_documents_by_term("id", resource_id)
                for document in upserts:
                    writer.delete_documents_by_term("id", document.id)
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
        offset: int = 0,
        sort: Sort = "relevance",
    ) -> SearchResult:
        """One page of what matches `text` among what the asker may see.

        `visible` lists alternatives, one of which a resource must meet:
        `[{"published": True}, {"agency": "a1"}]` is "published, or ours"; `[{}]` is everything, `[]` nothing.
        A facet is counted without its own filter, so that its other values can still be chosen.
        Without text the newest come first.

        Raises:
            UnknownFilter: a filter or facet the index does not have.
            ValueError: limit or offset out of range.
        """
        if not 1 <= limit <= MAX_LIMIT or not 0 <= offset <= MAX_OFFSET:
            raise ValueError(f"limit 1-{MAX_LIMIT}, offset 0-{MAX_OFFSET}")
        chosen = dict(filters or {})
        schema, searcher = self._schema, self._reader().searcher()
        typed = TypedText.read(text)
        seen = Query.boolean_query(
            [
                (Occur.Must, audience(schema, visible)),
                (Occur.MustNot, Query.term_query(schema, "id", _POSITION_ID, "basic")),
            ]
        )
        base = all_of(seen, matching(schema, typed))
        within = all_of(base, restriction(schema, chosen))
        relaxed = False
        if len(typed.tokens) > 2 and _total(searcher.search(within, 1)) == 0:
            relaxed = True
            base = all_of(seen, matching(schema, typed, relaxed=True))
            within = all_of(base, restriction(schema, chosen))
        order = ranking(schema, typed) if sort == "relevance" else None
        if order is None:
            found = searcher.search(within, limit, order_by_field="updated", offset=offset)
        else:
            scored = Query.boolean_query([(Occur.Must, within), (Occur.Should, order)])
            found = searcher.search(scored, limit, offset=offset)
        hits = tuple(
            Hit(
                str(searcher.doc(address).get_first("id")),
                0.0 if order is None else float(score),
            )
            for score, address in found.hits
        )
        counts = self._count_facets(searcher, base, chosen, facets)
        return SearchResult(hits, _total(found), counts, relaxed and bool(hits))

    def match(self, text: str, *, visible: Sequence[Filters], limit: int = MAX_OFFSET) -> list[str]:
        """Ids of the resources among those the asker may see that hold every word, best first, `limit` at most;
        for readers that sort and count by what only the database knows."""
        schema, searcher = self._schema, self._reader().searcher()
        typed = TypedText.read(text)
        order = ranking(schema, typed)
        if order is None:
            return []
        within = all_of(audience(schema, visible), matching(schema, typed))
        scored = Query.boolean_query([(Occur.Must, within), (Occur.Should, order)])
        hits = searcher.search(scored, limit, count=False).hits
        return [str(searcher.doc(address).get_first("id")) for _, address in hits]

    def suggest(self, prefix: str, *, visible: Sequence[Filters], limit: int = 8) -> list[str]:
        """Names (titles, items) that begin with `prefix`, or whose pinyin initials do, most frequent first."""
        key = fold(prefix[:64])
        if not key:
            return []
        searcher = self._reader().searcher()
        terms = searcher.terms_with_prefix("suggestion", key, audience(self._schema, visible), limit * 8)
        names: dict[str, int] = {}
        for term, count in terms:
            name = term.partition("\t")[2]
            names[name] = max(count, names.get(name, 0))
        return sorted(names, key=lambda name: (-names[name], len(name), name))[:limit]

    def _count_facets(
        self, searcher: Searcher, base: Query, chosen: Filters, facets: Sequence[str]
    ) -> dict[str, dict[str, int]]:
        unknown = [name for name in facets if name not in FACETS]
        if unknown:
            raise UnknownFilter(unknown[0])
        groups: dict[str, list[str]] = {}  # the filter left out -> facets counted without it
        for name in facets:
            groups.setdefault(name if name in chosen else "", []).append(name)
        counts: dict[str, dict[str, int]] = {}
        for left_out, names in groups.items():
            others = {name: value for name, value in chosen.items() if name != left_out}
            wanted = {name: {"terms": {"field": name, "size": _FACET_VALUES}} for name in names}
            answer = searcher.aggregate(all_of(base, restriction(self._schema, others)), wanted)
            for name in names:
                counts[name] = {str(b["key"]): int(b["doc_count"]) for b in answer[name]["buckets"]}
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


def _total(found: tantivy.SearchResult) -> int:
    return int(found.count)  # type: ignore[attr-defined]  # the package's stub leaves it out


def _commit(writer: IndexWriter, position: str) -> None:
    writer.delete_documents_by_term("id", _POSITION_ID)
    writer.add_document(Document(id=_POSITION_ID, position=position))
    writer.commit()
