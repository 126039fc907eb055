"""The audit of a whole catalog: what is held twice, as pairs of items, pairs of resources and clusters.

Owns the four statements and the scorer of batches, which an engine (DuckDB here, Spark elsewhere) runs alike.
Works on distinct names and near resources, never on all pairs of items. Refuses to merge: it shows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import pyarrow as pa

from catalog.collection.audit_tables import Batches, Engine, Held, table
from catalog.collection.knowledge import SEPARATIONS, Knowledge
from catalog.collection.matching import KINDRED, OF_OTHERS
from catalog.collection.meaning import Encoder
from catalog.collection.normalise import (
    contrast,
    difference,
    name_key,
    numbers,
    representation,
    topic,
)
from catalog.collection.profiles import ItemProfile
from catalog.collection.scoring import (
    AliasTable,
    CannotLink,
    Context,
    Evidence,
    Reason,
    Scorer,
    Side,
    company,
    is_initials,
    period,
)
from catalog.collection.statements import LEAST_CONTAINED, LINKS, NEAR, PAIRS, RANKED, SHOWN, SURE

_LEAST_SHARED = 0.5  # of the characters of two names
_ALIKE = 0.35  # score from which an item counts towards its resource being a copy: many such tell it, not one
_TELLING = (
    2  # names that not everybody has: with so many in common two resources' other equal names count too
)
_ENOUGH = 3  # items in common that make a pair of resources worth showing, whatever their titles say
_OF_ONE_SUBJECT = ("other_place",)
_OF_ONE_WORD = ("one_word",)  # speaks against no item of a copy whose other words are near in meaning
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
# `meaning`: thousandths of a cosine; `named`: whether the names alone link them.
LINKED = pa.schema(
    [("one", pa.int32()), ("other", pa.int32()), ("meaning", pa.int32()), ("named", pa.int32())]
)


class Told(Protocol):
    """Hears what is being done and how much of it is."""

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None: ...


def silent(stage: str, done: int = 0, total: int = 0) -> None:
    """Tells nobody."""


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
    wanted: Collection[str] | None = None, encoder: Encoder | None = None, told: Told = silent,
) -> Audit:  # fmt: skip
    """Compare everything with everything that may be the same, or only with these resources (by their ids). With an
    encoder names are compared by meaning too; `knowledge` then brings the model that was fitted with one. `told`
    hears of the stages "names" and "items"."""
    known = knowledge or Knowledge()
    held = Held(profiles)
    names = NameScorer(held.names, known, held.mined(), AliasTable(known.aliases))
    rarity, unseen = held.rarity()
    scorer = Scorer(known, names.aliases, names.mined, held.common(), rarity, unseen)
    told("names")
    held.put(engine, known, scorer)
    engine.put("meant", held.meant(encoder))
    engine.keep("candidate", LINKS)
    engine.map("linked", "candidate", names, LINKED)
    same = [(n, n, 0, 1) for n in range(len(held.names))]
    engine.put("itself", table(LINKED, same))
    engine.keep(
        "link",
        "SELECT * FROM linked UNION ALL SELECT other, one, meaning, named FROM linked UNION ALL SELECT * FROM itself",
    )
    roots = _roots(len(held.names), engine.rows("SELECT one, other FROM linked ORDER BY one, other"), names)
    engine.put("feature", held.features(roots, wanted))
    told("items")
    engine.keep("near", NEAR)
    engine.keep("pair", PAIRS)
    engine.map("scored", "pair", PairScorer(scorer), SCORED, partial(told, "items"))
    return _gathered(held, engine, PairScorer(scorer))


@dataclass(frozen=True)
class NameScorer:
    """Keeps the pairs of names that nothing separates for certain, whatever their contexts say."""

    names: Sequence[str]
    knowledge: Knowledge
    mined: CannotLink
    aliases: AliasTable

    def __call__(self, batches: Batches) -> Batches:
        for batch in batches:
            rows = [
                (one, other, meaning, int(named))
                for one, other, meaning in zip(
                    *(batch.column(name).to_pylist() for name in ("one", "other", "meaning")), strict=True
                )
                if (named := self.may_be_same(self.names[one], self.names[other], meaning > 0)) is not None
            ]
            yield from table(LINKED, rows).to_batches()

    def may_be_same(self, one: str, other: str, meant: bool) -> bool | None:
        """Whether the names alone make the pair worth being compared item by item; None: nothing does, nor their
        being `meant` alike."""
        if frozenset({one, other}) in self.knowledge.different:
            return None
        if self.is_known(one, other):
            return True
        if contrast(one, other) or numbers(one) != numbers(other):
            return None
        cut = difference(one, other)
        kinds = representation(one), representation(other)
        if (all(kinds) and kinds[0] != kinds[1]) or self.mined.pairs[cut.pair]:
            return None
        if cut.shared >= _LEAST_SHARED and not (cut.left and cut.right):
            return True
        return False if meant else None

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

    def of_one_subject(self, one: ItemProfile, other: ItemProfile) -> bool:
        """Whether the titles of two items' resources speak of the same, in whatever place."""
        first, second = (_context(p.resource_title, p.population) for p in (one, other))
        apart = (
            *self.scorer.of_titles(first, second),
            *self.scorer.of_contexts(first, second, generic=False),
        )
        return all(found.code in _OF_ONE_SUBJECT or found.code not in SEPARATIONS for found in apart)

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
        meaning = row["meaning"] / 1000
        seen = self.scorer.evidence(one, other, similarity=likeness, meaning=meaning, contained=contained)
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
            "same": against in ("", *(_OF_ONE_WORD if meaning else ()), *_OF_THE_WHOLE)
            and (score >= _ALIKE or bool(meaning) or (row["company"] >= _TELLING and one.name == other.name)),
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


def _gathered(held: Held, engine: Engine, scorer: PairScorer) -> Audit:
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
        if r["items"] >= _ENOUGH or scorer.of_one_subject(held.resources[r["resource_one"]], held.resources[r["resource_other"]])
    ]  # fmt: skip
    clusters = _clusters(engine.rows(SURE), held, scorer)
    return Audit(tuple(pairs), tuple(ranked), clusters, scorer.scorer.knowledge.model.version)


def _clusters(sure: pa.Table, held: Held, scorer: PairScorer) -> tuple[Cluster, ...]:
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
