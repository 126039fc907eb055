"""The duplicate check (重复采集) at the level of information items: candidates, bands, coverage.

Pure. Owns the profiles of what the catalog holds and how few of them are compared for each planned item.
Refuses to decide: it asks for reuse or for review and says why, it never rejects a plan.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from catalog.collection.knowledge import Band, Knowledge
from catalog.collection.normalise import grams, name_key, topic
from catalog.collection.scoring import AliasTable, CannotLink, Reason, Scorer, Side
from catalog.text import initials

_SIMILAR_NAMES = 50  # candidates by character n-grams for one planned item
_LEAST_SIMILARITY = 0.3
_POSTINGS = 200_000  # entries read for one name; rare grams come first, so only common ones are left out
# Profiles of one name that are compared in full, nearest in topic: of the element itself, of similar names.
_PROFILES_OF_SAME, _PROFILES_OF_SIMILAR = 12, 3
_COVERING_RESOURCES = 50
# Cost of a resource in the smallest covering set: what is had for the asking comes before what is negotiated.
_COST = {"unconditional": 1.0, "conditional": 1.5, "not_shared": 4.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemProfile:
    """An information item that the catalog holds, with what is needed to compare it and to point at it."""

    id: str
    name: str
    resource_id: str
    resource_title: str
    agency_id: str
    agency_name: str
    definition: str = ""
    data_type: str = ""
    code_list: str = ""
    is_identifier: bool = False
    population: str = ""
    sharing_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedItem:
    """What a collection plan wants to ask for."""

    name: str
    definition: str = ""
    data_type: str = ""
    code_list: str = ""
    is_identifier: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """The plan's title and from whom it collects, in the agency's words."""

    title: str
    population: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """An existing item that may be the same. `against` is the nearest reason it may not be."""

    profile: ItemProfile
    score: float  # 0-1, comparable between matches of one model version; no probability
    band: Band
    reasons: tuple[Reason, ...]
    against: Reason | None


@dataclass(frozen=True, slots=True)
class ItemCheck:
    """A planned item with its best matches, best first, and the band of the best."""

    item: PlannedItem
    band: Band
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class CoveringResource:
    """A resource to ask for instead of collecting, and the planned items (by position) it would supply."""

    resource_id: str
    title: str
    agency_name: str
    sharing_type: str
    items: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """The few resources that together hold what a plan asks for; `share` of the plan's items, 0-1."""

    resources: tuple[CoveringResource, ...]
    share: float


@dataclass(frozen=True, slots=True)
class PlanCheck:
    """The answer to a whole plan, under the model version that gave it."""

    items: tuple[ItemCheck, ...]
    coverage: Coverage
    model_version: str


class CatalogProfiles:
    """What the catalog holds, ready to be compared: distinct names, their profiles, what separates them."""

    def __init__(self, profiles: Iterable[ItemProfile], knowledge: Knowledge | None = None) -> None:
        self._knowledge = knowledge or Knowledge()
        self._by_name: dict[str, list[ItemProfile]] = defaultdict(list)
        resources: dict[str, set[str]] = defaultdict(set)
        titles: dict[str, frozenset[str]] = {}
        for profile in profiles:
            key = name_key(profile.name)
            if not key:
                continue
            if key not in resources[profile.resource_id]:  # one profile for a name and a topic
                self._by_name[key].append(profile)
            resources[profile.resource_id].add(key)
            titles[profile.resource_id] = _about(profile)
        cannot_link = CannotLink()
        for keys in resources.values():
            cannot_link.learn(keys)
        rarity, unseen = _rarity(titles.values())
        aliases = AliasTable(self._knowledge.aliases)
        self._scorer = Scorer(self._knowledge, aliases, cannot_link, rarity, unseen)
        self._names = list(self._by_name)
        self._index_names()

    def __len__(self) -> int:
        """The number of profiles."""
        return sum(len(profiles) for profiles in self._by_name.values())

    @property
    def model_version(self) -> str:
        """Stored with each finding."""
        return self._knowledge.model.version

    def check(self, item: PlannedItem, plan: PlanContext, limit: int = 3) -> list[Match]:
        """The best existing items for one planned item, best first; what the band calls new is left out."""
        planned = Side(
            name=item.name,
            definition=item.definition,
            data_type=item.data_type,
            code_list=item.code_list,
            is_identifier=item.is_identifier,
            population=plan.population,
            title=plan.title,
        )
        same = self._same_element(name_key(item.name))
        matches = [
            match
            for name, similarity in self.candidates(item.name).items()
            for profile in self._nearest(
                name, planned.about, _PROFILES_OF_SAME if name in same else _PROFILES_OF_SIMILAR
            )
            if (match := self._match(planned, profile, similarity)).band != "new"
        ]
        return heapq.nsmallest(limit, matches, key=lambda match: (-match.score, match.profile.id))

    def check_plan(self, items: Sequence[PlannedItem], plan: PlanContext, limit: int = 3) -> PlanCheck:
        """Every item of a plan, and the resources that would spare the collection."""
        found = [self.check(item, plan, limit=max(limit, _COVERING_RESOURCES)) for item in items]
        checks = tuple(
            ItemCheck(item, matches[0].band if matches else "new", tuple(matches[:limit]))
            for item, matches in zip(items, found, strict=True)
        )
        return PlanCheck(checks, coverage(found), self.model_version)

    def candidates(self, name: str) -> dict[str, float]:
        """Keys of names worth comparing, with their similarity: same, aliases, n-grams, pinyin initials."""
        key = name_key(name)
        found = self._similar(key)
        for other in self._same_element(key):
            found.setdefault(other, 0.0)
        return found

    def _same_element(self, key: str) -> set[str]:
        """Keys the catalog holds that name the same element: the key itself, aliases, initials either way."""
        known = {*self._scorer.aliases.of(key), *self._by_initials.get(key, ()), initials(key)}
        return known & self._by_name.keys()

    def _match(self, planned: Side, profile: ItemProfile, similarity: float) -> Match:
        existing = Side(
            name=profile.name,
            definition=profile.definition,
            data_type=profile.data_type,
            code_list=profile.code_list,
            is_identifier=profile.is_identifier,
            population=profile.population,
            title=profile.resource_title,
        )
        reasons = self._scorer.reasons(planned, existing, similarity)
        score = round(min(max(sum(reason.weight for reason in reasons), 0.0), 1.0), 4)
        against = next((reason for reason in reasons if reason.weight < 0), None)
        return Match(
            profile,
            score,
            self._knowledge.model.band(score, [reason.code for reason in reasons]),
            reasons,
            against,
        )

    def _nearest(self, key: str, about: frozenset[str], limit: int) -> list[ItemProfile]:
        profiles = self._by_name[key]
        if len(profiles) <= limit:
            return profiles
        return heapq.nlargest(limit, profiles, key=lambda held: self._scorer.overlap(about, _about(held)))

    def _index_names(self) -> None:
        """Inverted index of the distinct names, weighted by TF-IDF and normalised to length one."""
        frequency = Counter(gram for key in self._names for gram in grams(key))
        self._idf = {gram: math.log(1 + len(self._names) / n) for gram, n in frequency.items()}
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._by_initials: dict[str, list[str]] = defaultdict(list)
        for number, key in enumerate(self._names):
            for gram, weight in self._vector(key).items():
                self._postings[gram].append((number, weight))
            if len(key) > 2 and not key.isascii():
                self._by_initials[initials(key)].append(key)

    def _vector(self, key: str) -> dict[str, float]:
        rare = math.log(1 + len(self._names))
        weights = {gram: self._idf.get(gram, rare) for gram in grams(key)}
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {gram: weight / length for gram, weight in weights.items()}

    def _similar(self, key: str) -> dict[str, float]:
        scores: dict[int, float] = defaultdict(float)
        read = 0
        for gram, weight in sorted(self._vector(key).items(), key=lambda entry: -entry[1]):
            postings = self._postings.get(gram, [])
            read += len(postings)
            if read > _POSTINGS:
                break
            for number, their_weight in postings:
                scores[number] += weight * their_weight
        best = heapq.nlargest(_SIMILAR_NAMES, scores.items(), key=lambda entry: entry[1])
        return {self._names[n]: min(score, 1.0) for n, score in best if score >= _LEAST_SIMILARITY}


def coverage(matches: Sequence[Sequence[Match]]) -> Coverage:
    """The cheapest few resources that hold what is expected to be reused (greedy weighted set cover).

    `matches[i]` belong to planned item i. Only the band `reuse_expected` counts; a resource weighs more the
    harder it is to get. `share` is of all planned items.
    """
    held: dict[str, dict[int, Match]] = defaultdict(dict)
    for number, found in enumerate(matches):
        for match in found:
            if match.band == "reuse_expected":
                held[match.profile.resource_id].setdefault(number, match)
    left = {number for items in held.values() for number in items}
    covered = len(left)
    chosen: list[CoveringResource] = []
    while left and len(chosen) < _COVERING_RESOURCES:
        best = max(held, key=lambda resource_id: (_worth(held[resource_id], left), resource_id))
        supplied = tuple(sorted(held[best].keys() & left))
        profile = held[best][supplied[0]].profile
        title, agency = profile.resource_title, profile.agency_name
        chosen.append(CoveringResource(best, title, agency, profile.sharing_type, supplied))
        left -= set(supplied)
    return Coverage(tuple(chosen), (covered - len(left)) / len(matches) if matches else 0.0)


def _worth(items: Mapping[int, Match], left: set[int]) -> float:
    gained = [items[number] for number in items.keys() & left]
    if not gained:
        return 0.0
    cost = _COST.get(gained[0].profile.sharing_type, _COST["conditional"])
    return sum(match.score for match in gained) / cost


def _about(profile: ItemProfile) -> frozenset[str]:
    return topic(f"{profile.resource_title} {profile.population}")


def _rarity(titles: Iterable[frozenset[str]]) -> tuple[dict[str, float], float]:
    """How telling each token of a title is, and the weight of a token that no title has."""
    documents = list(titles)
    frequency = Counter(token for tokens in documents for token in tokens)
    rarity = {token: math.log(1 + len(documents) / count) for token, count in frequency.items()}
    return rarity, math.log(2 + len(documents))
