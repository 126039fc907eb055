"""The audit of a whole catalog: what is held twice, as pairs of items, pairs of resources and clusters.

Owns the four statements and the scorer of batches, which an engine (DuckDB here, Spark elsewhere) runs alike.
Works on distinct names and near resources, never on all pairs of items. Refuses to merge: it shows.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import pyarrow as pa

from catalog.collection.knowledge import MEANINGLESS, SEPARATIONS, Knowledge
from catalog.collection.matching import KINDRED, OF_OTHERS
from catalog.collection.normalise import (
    contrast,
    difference,
    grams,
    name_key,
    numbers,
    representation,
    tokens,
    topic,
)
from catalog.collection.profiles import ItemProfile, common_from, scattered
from catalog.collection.scoring import (
    AliasTable,
    CannotLink,
    Context,
    Evidence,
    Reason,
    Scorer,
    Side,
    company,
    initials_of,
    is_initials,
    period,
)
from catalog.collection.statements import LEAST_CONTAINED, LINKS, NEAR, PAIRS, RANKED, SHOWN, SURE

_RAREST_GRAMS, _GRAM_LIMIT = 4, 200  # of a name, by which others are found; names that may share one
_ELEMENT_LIMIT, _TOKEN_LIMIT = (
    60,
    300,
)  # resources that share an element or a topic token, for it to tell anything
_LEAST_SHARED = 0.5  # of the characters of two names
_ALIKE = 0.35  # score from which an item counts towards its resource being a copy: many such tell it, not one
_TELLING = (
    2  # names that not everybody has: with so many in common two resources' other equal names count too
)
_OF_THE_WHOLE = (
    "other_period", "other_group", "other_place", "other_part", "other_title", "same_agency", "other_topic",
    "generic_elsewhere",    "addition", "held_apart",
)  # fmt: skip

SCORED = pa.schema(
    [
        ("resource_one", pa.int32()), ("resource_other", pa.int32()), ("item_one", pa.int64()),
        ("item_other", pa.int64()), ("score", pa.float64()), ("band", pa.string()), ("same", pa.bool_()),
        ("against", pa.string()),
    ]
)  # fmt: skip
LINKED = pa.schema([("one", pa.int32()), ("other", pa.int32())])
Batches = Iterator[pa.RecordBatch]


class Told(Protocol):
    """Hears what is being done and how much of it is."""

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None: ...


def silent(stage: str, done: int = 0, total: int = 0) -> None:
    """Tells nobody."""


class Engine(Protocol):
    """What runs the statements."""

    def put(self, name: str, table: pa.Table) -> None:
        """Give a table a name."""

    def keep(self, name: str, sql: str) -> None:
        """Run a statement and give its result a name."""

    def map(
        self,
        name: str,
        source: str,
        scorer: Callable[[Batches], Batches],
        schema: pa.Schema,
        told: Callable[[int, int], None] = ...,
    ) -> None:
        """Send a named table through the scorer, in batches, in no order; name what comes. `told` hears how many
        rows have come of how many went in, where the engine knows."""

    def rows(self, sql: str) -> pa.Table:
        """What a statement gives."""


@dataclass(frozen=True, slots=True)
class ItemPair:
    """Two items of different resources that seem the same."""

    one: ItemProfile
    other: ItemProfile
    score: float
    band: str
    against: str  # code of what separates them, if anything


@dataclass(frozen=True, slots=True)
class ResourcePair:
    """Two resources of which one holds much of the other; the shares are of each one's items."""

    one: ItemProfile  # any item of it: it names resource and agency
    other: ItemProfile
    items: int
    share_one: float
    share_other: float

    @property
    def kind(self) -> str:
        """Copy, or the smaller one within the larger."""
        if min(self.share_one, self.share_other) >= LEAST_CONTAINED:
            return "copy"
        return "subset" if self.share_one > self.share_other else "superset"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Items that are one element held by several agencies, by its surest pair; the first of the items is proposed
    as authoritative source: it identifies its object, or stands in the fullest resource."""

    items: tuple[ItemProfile, ...]
    score: float
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found, surest first. Of the pairs of items no more than can be looked through."""

    items: tuple[ItemPair, ...]
    resources: tuple[ResourcePair, ...]
    clusters: tuple[Cluster, ...]
    model_version: str


def audit(
    profiles: Iterable[ItemProfile], engine: Engine, knowledge: Knowledge | None = None, *,
    wanted: Collection[str] | None = None, told: Told = silent,
) -> Audit:  # fmt: skip
    """Compare everything with everything that may be the same, or only with these resources (by their ids). `told`
    hears of the stages "names" and "items"."""
    known = knowledge or Knowledge()
    held = _Held(profiles)
    names = NameScorer(held.names, known, held.mined(), AliasTable(known.aliases))
    rarity, unseen = held.rarity()
    scorer = Scorer(known, names.aliases, names.mined, held.common(), rarity, unseen)
    told("names")
    held.put(engine, known, scorer)
    engine.keep("candidate", LINKS)
    engine.map("linked", "candidate", names, LINKED)
    same = [(n, n) for n in range(len(held.names))]
    engine.put("itself", _table(LINKED, same))
    engine.keep(
        "link",
        "SELECT one, other FROM linked UNION ALL SELECT other, one FROM linked UNION ALL SELECT one, other FROM itself",
    )
    roots = _roots(len(held.names), engine.rows("SELECT one, other FROM linked ORDER BY one, other"), names)
    engine.put("feature", held.features(roots, wanted))
    told("items")
    engine.keep("near", NEAR)
    engine.keep("pair", PAIRS)
    engine.map("scored", "pair", PairScorer(scorer), SCORED, partial(told, "items"))
    return _gathered(held, engine, PairScorer(scorer))


class _Held:
    """The catalog as tables of numbers."""

    def __init__(self, profiles: Iterable[ItemProfile]) -> None:
        self.profiles: list[ItemProfile] = []
        self.names: list[str] = []
        self.resources: list[ItemProfile] = []  # one item of each
        self.contents: list[list[int]] = []  # names of each resource
        self._rows: list[tuple[int, int, int, str, str, str]] = []
        number: dict[str, int] = {}
        resource_number: dict[str, int] = {}
        for profile in profiles:
            key = name_key(profile.name)
            if not key or key in MEANINGLESS:
                continue
            name = number.setdefault(key, len(number))
            resource = resource_number.setdefault(profile.resource_id, len(resource_number))
            if resource == len(self.contents):
                self.contents.append([])
                self.resources.append(profile)
            if name in self.contents[resource]:
                continue
            self.contents[resource].append(name)
            self._rows.append((resource, name, len(self.profiles), key, profile.data_type, profile.code_list))
            self.profiles.append(profile)
        self.names.extend(number)
        self.topics = [Context(title=p.resource_title, population=p.population).about for p in self.resources]

    def mined(self) -> CannotLink:
        """What separates the items of one resource."""
        found = CannotLink()
        for contents in self.contents:
            found.learn(self.names[n] for n in contents)
        return found

    def common(self) -> frozenset[str]:
        """Names that many resources hold."""
        holders: dict[int, list[int]] = defaultdict(list)
        for resource, contents in enumerate(self.contents):
            for name in contents:
                holders[name].append(resource)
        limit = common_from(len(self.contents))
        return frozenset(
            self.names[name]
            for name, held in holders.items()
            if len(held) >= limit and scattered([self.topics[r] for r in held])
        )

    def rarity(self) -> tuple[dict[str, float], float]:
        """How telling each topic token is."""
        frequency = Counter(token for topic in self.topics for token in topic)
        total = len(self.topics)
        return {t: math.log(1 + total / n) for t, n in frequency.items()}, math.log(2 + total)

    def put(self, engine: Engine, known: Knowledge, scorer: Scorer) -> None:
        """The tables that the statements read."""
        telling = [int(not scorer.is_generic(key)) for key in self.names]
        engine.put("held", _table(_HELD, [(*row, telling[row[1]]) for row in self._rows]))
        engine.put(
            "resource",
            _table(
                _RESOURCE,
                [(n, p.resource_title, p.population, p.agency_id, len(self.contents[n])) for n, p in enumerate(self.resources)],
            ),
        )  # fmt: skip
        pieces = [grams(key) for key in self.names]
        frequency = Counter(gram for found in pieces for gram in found)
        spelt = [
            (name, gram)
            for name, found in enumerate(pieces)
            for gram in sorted(found, key=lambda g: (frequency[g], g))[:_RAREST_GRAMS]
            if 1 < frequency[gram] <= _GRAM_LIMIT
        ]
        engine.put("spelt", _table(_SPELT, spelt))
        aliases = AliasTable(known.aliases)
        means = [
            (name, said)
            for name, key in enumerate(self.names)
            for said in {min(aliases.of(key)), " ".join(sorted(tokens(key))), *initials_of(key)}
        ]
        engine.put("means", _table(_MEANS, means))

    def features(self, roots: Sequence[int], wanted: Collection[str] | None) -> pa.Table:
        """What makes resources near: elements and topics that few share."""
        rows = [
            (resource, f"e{root}")
            for resource, names in enumerate(self.contents)
            for root in {roots[n] for n in names}
        ]
        rows += [
            (resource, f"t{token}") for resource, topic in enumerate(self.topics) for token in sorted(topic)
        ]
        frequency = Counter(feature for _, feature in rows)
        limits = {"e": _ELEMENT_LIMIT, "t": _TOKEN_LIMIT}
        total = len(self.contents)
        asked = [int(wanted is None or p.resource_id in wanted) for p in self.resources]
        return _table(
            _FEATURE,
            [
                (resource, feature, round(1000 * math.log(1 + total / frequency[feature])), asked[resource])
                for resource, feature in rows
                if 1 < frequency[feature] <= limits[feature[0]]
            ],
        )


_HELD = pa.schema([
    ("resource", pa.int32()), ("name", pa.int32()), ("item", pa.int64()), ("key", pa.string()),
    ("data_type", pa.string()), ("code_list", pa.string()), ("telling", pa.int32()),
])  # fmt: skip
_RESOURCE = pa.schema(
    [
        ("resource", pa.int32()),
        ("title", pa.string()),
        ("population", pa.string()),
        ("agency", pa.string()),
        ("size", pa.int32()),
    ]
)
_SPELT = pa.schema([("name", pa.int32()), ("gram", pa.string())])
_MEANS = pa.schema([("name", pa.int32()), ("element", pa.string())])
_FEATURE = pa.schema(
    [("resource", pa.int32()), ("feature", pa.string()), ("weight", pa.int64()), ("wanted", pa.int32())]
)


def _table(schema: pa.Schema, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


@dataclass(frozen=True)
class NameScorer:
    """Keeps the pairs of names that nothing separates for certain, whatever their contexts say."""

    names: Sequence[str]
    knowledge: Knowledge
    mined: CannotLink
    aliases: AliasTable

    def __call__(self, batches: Batches) -> Batches:
        for batch in batches:
            one, other = batch.column("one").to_pylist(), batch.column("other").to_pylist()
            kept = [self.may_be_same(self.names[a], self.names[b]) for a, b in zip(one, other, strict=True)]
            yield batch.filter(pa.array(kept, pa.bool_()))

    def may_be_same(self, one: str, other: str) -> bool:
        """Whether the pair is worth being compared item by item."""
        if frozenset({one, other}) in self.knowledge.different:
            return False
        if self.is_known(one, other):
            return True
        if contrast(one, other) or numbers(one) != numbers(other):
            return False
        cut = difference(one, other)
        kinds = representation(one), representation(other)
        if cut.shared < _LEAST_SHARED or (cut.left and cut.right) or (all(kinds) and kinds[0] != kinds[1]):
            return False
        return not self.mined.pairs[cut.pair]

    def is_known(self, one: str, other: str) -> bool:
        """Whether the two are the same words, aliases, or a code and its name."""
        return (
            other in self.aliases.of(one)
            or is_initials(one, other)
            or is_initials(other, one)
            or (difference(one, other).same_words and not contrast(one, other))
        )


@dataclass(frozen=True)
class PairScorer:
    """Scores pairs of items with the same evidence as the check of a plan."""

    scorer: Scorer

    def __call__(self, batches: Batches) -> Batches:
        for batch in batches:
            rows = batch.to_pylist()
            scored = [self.scored(row) for row in rows]
            yield pa.RecordBatch.from_arrays(
                [pa.array([row[field.name] for row in scored], field.type) for field in SCORED], schema=SCORED
            )

    def reasons(self, one: ItemProfile, other: ItemProfile) -> tuple[Reason, ...]:
        """Two items' evidence in words, without what the rest of their resources adds."""
        sides = [
            Side(
                name=held.name, definition=held.definition, data_type=held.data_type, code_list=held.code_list,
                context=_context(held.resource_title, held.population),
            )
            for held in (one, other)
        ]  # fmt: skip
        likeness = difference(name_key(one.name), name_key(other.name)).shared
        return self.scorer.reasons(self.scorer.evidence(sides[0], sides[1], similarity=likeness))

    def scored(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """One row of PAIRS with its score."""
        one, other = (
            Side(
                name=row[f"key_{side}"], data_type=row[f"type_{side}"], code_list=row[f"list_{side}"],
                context=_context(row[f"title_{side}"], row[f"population_{side}"]),
            )
            for side in ("one", "other")
        )  # fmt: skip
        model = self.scorer.knowledge.model
        others = row["company"] - row["telling"]
        smaller = min(row["size_one"], row["size_other"])
        contained = min(others / max(smaller - 1, KINDRED), 1.0)
        likeness = difference(one.name, other.name).shared
        seen = self.scorer.evidence(one, other, similarity=likeness, contained=contained)
        if self.scorer.identifies(one.name):
            seen = [found for found in seen if found.code not in OF_OTHERS]
        seen += company(others)
        seen += _of_titles(row, one, other, self.scorer)
        score = model.score(self.scorer.weigh(seen))
        codes = [found.code for found in seen]
        band = model.band(score, codes)
        against = next((code for code in codes if code in SEPARATIONS), "")
        return {
            **{name: row[name] for name in ("resource_one", "resource_other", "item_one", "item_other")},
            "score": score, "band": band, "against": against,
            # Copies are told by what they hold: period or group may differ from the original's.
            "same": against in ("", *_OF_THE_WHOLE)
            and (score >= _ALIKE or (row["company"] >= _TELLING and one.name == other.name)),
        }  # fmt: skip


def _of_titles(row: Mapping[str, Any], one: Side, other: Side, scorer: Scorer) -> Iterator[Evidence]:
    """What sets the resources apart: one agency keeps both, or their titles tell. That both titles name the item
    tells nothing."""
    if row["within"]:
        yield Evidence("same_agency")
    elif (periods := (period(row["title_one"]), period(row["title_other"])))[0] != periods[1]:
        yield Evidence("other_part", values=(("one", periods[0]), ("other", periods[1])))
    else:
        yield from scorer.of_titles(one.context, other.context, topic(one.name) & topic(other.name))


@lru_cache(maxsize=65536)
def _context(title: str, population: str) -> Context:
    return Context(title=title, population=population)


def _roots(count: int, linked: pa.Table, names: NameScorer) -> list[int]:
    """Of each name the first name of its element (union-find over what is known to be the same)."""
    root = list(range(count))

    def find(name: int) -> int:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for one, other in zip(linked["one"].to_pylist(), linked["other"].to_pylist(), strict=True):
        if names.is_known(names.names[one], names.names[other]):
            low, high = sorted((find(one), find(other)))
            root[high] = low
    return [find(name) for name in range(count)]


def _gathered(held: _Held, engine: Engine, scorer: PairScorer) -> Audit:
    pairs = [
        ItemPair(
            held.profiles[r["item_one"]], held.profiles[r["item_other"]], r["score"], r["band"], r["against"]
        )
        for r in engine.rows(SHOWN).to_pylist()
    ]
    ranked = [
        ResourcePair(
            held.resources[r["resource_one"]], held.resources[r["resource_other"]], r["items"],
            r["items"] / r["size_one"], r["items"] / r["size_other"],
        )
        for r in engine.rows(RANKED).to_pylist()
    ]  # fmt: skip
    clusters = _clusters(engine.rows(SURE), held, scorer)
    return Audit(tuple(pairs), tuple(ranked), clusters, scorer.scorer.knowledge.model.version)


def _clusters(sure: pa.Table, held: _Held, scorer: PairScorer) -> tuple[Cluster, ...]:
    """Items of several agencies joined by "reuse expected", the largest cluster first."""
    root = list(range(len(held.profiles)))

    def find(item: int) -> int:
        while root[item] != item:
            root[item] = root[root[item]]
            item = root[item]
        return item

    pairs = list(zip(*(sure[name].to_pylist() for name in ("item_one", "item_other", "score")), strict=True))
    for one, other, _ in pairs:
        low, high = sorted((find(one), find(other)))
        root[high] = low
    best: dict[int, tuple[int, int, float]] = {}
    members: dict[int, set[int]] = defaultdict(set)
    for one, other, score in pairs:
        members[find(one)] |= {one, other}
        best.setdefault(find(one), (one, other, score))
    size = Counter(profile.resource_id for profile in held.profiles)
    found = []
    for first, items in members.items():
        profiles = [held.profiles[item] for item in items]
        if len({profile.agency_id for profile in profiles}) > 1:
            one, other, score = best[first]
            ranked = sorted(profiles, key=lambda p: (not p.is_identifier, -size[p.resource_id], p.id))
            found.append(
                Cluster(tuple(ranked), score, scorer.reasons(held.profiles[one], held.profiles[other]))
            )
    return tuple(sorted(found, key=lambda cluster: (-len(cluster.items), cluster.items[0].id)))
