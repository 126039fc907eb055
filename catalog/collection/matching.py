"""The duplicate check (重复采集) at the level of information items: candidates, bands, coverage.

Pure. Owns which of what the catalog holds is compared with a planned item, and what comes of it.
Refuses to decide: it asks for reuse or for review and says why, it never rejects a plan.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from catalog.collection.knowledge import MEANINGLESS, SEPARATIONS, Band, Knowledge
from catalog.collection.normalise import name_key, tokens, topic
from catalog.collection.profiles import CatalogIndex, ItemProfile, Shares, largest
from catalog.collection.scoring import (
    KINSHIP,
    AliasTable,
    Context,
    Evidence,
    Reason,
    Scorer,
    Side,
    company,
    is_initials,
    nearest,
)

_SIMILAR_NAMES = 50  # candidates by character n-grams for one planned item
_LEAST_SIMILARITY = 0.25
_SIMILAR_MEANINGS, _LEAST_MEANING = 20, 0.25  # by embeddings, where there are any
_NEAR_RESOURCES = 20  # whose names are looked through for the same kind of value
# Profiles of one name that are compared in full, nearest in topic: of the element itself, of similar names.
_PROFILES_OF_SAME, _PROFILES_OF_SIMILAR = 12, 3
KINDRED = 3  # other planned items in a resource that make its topic the plan's
# What does not count against the number by which an object is known everywhere. Where it is not the key of a resource
# about other things, that still leaves it to people: everybody asks for it, to know which object is meant.
OF_OTHERS = ("other_topic", "other_population", "generic_elsewhere", "foreign", "unrelated")
_OF_OTHER_TITLES = ("other_title", "other_part")
_SAME_OBJECTS = ("same_population", "kindred_population")
_COVERING_RESOURCES = 50
# Cost of a resource in the smallest covering set: what is had for the asking comes before what is negotiated.
_COST = {"unconditional": 1.0, "conditional": 1.5, "not_shared": 4.0}

PlanContext = Context


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedItem:
    """What a collection plan wants to ask for."""

    name: str
    definition: str = ""
    data_type: str = ""
    code_list: str = ""
    is_identifier: bool = False


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


@dataclass(slots=True)
class _Plan:
    """A plan being checked: how near each resource is to it, and what is the same for all its items."""

    context: Context
    topical: Shares
    company: Shares  # of each resource: how many planned items it holds under the same name
    kin: Shares  # of each resource: how much it is about the same objects, told by topics and contents
    own: dict[str, frozenset[int]]  # of each telling key: the resources that hold its element
    elements: dict[str, str]  # key of the same element → the planned item's key
    contexts: dict[tuple[int, bool, frozenset[str]], list[Evidence]] = field(default_factory=dict)

    preference: Shares = field(init=False)
    near: list[int] = field(init=False)  # the nearest resources

    def __post_init__(self) -> None:
        self.preference = (self.topical + self.kin).astype(np.float32)
        nearest = largest(self.preference, _NEAR_RESOURCES)
        self.near = [int(n) for n in nearest if self.preference[n] > 0.2]


class CatalogProfiles:
    """What the catalog holds, ready to be compared, with what is known."""

    def __init__(
        self, profiles: Iterable[ItemProfile] | CatalogIndex, knowledge: Knowledge | None = None
    ) -> None:
        self._knowledge = knowledge or Knowledge()
        self.index = profiles if isinstance(profiles, CatalogIndex) else CatalogIndex(profiles)
        self.scorer = Scorer(
            self._knowledge, AliasTable(self._knowledge.aliases), self.index.cannot_link,
            self.index.common_names(), self.index.topics.rarity, self.index.topics.unseen,
        )  # fmt: skip

    def __len__(self) -> int:
        """The number of profiles."""
        return len(self.index)

    @property
    def model_version(self) -> str:
        """Stored with each finding."""
        return self._knowledge.model.version

    def with_changes(
        self, gone: Iterable[str], profiles: Iterable[ItemProfile], knowledge: Knowledge | None = None
    ) -> CatalogProfiles:
        """After resources were taken out or published anew, and people have decided more."""
        left_out, added = list(gone), list(profiles)
        index = self.index.with_changes(left_out, added) if left_out or added else self.index
        return CatalogProfiles(index, knowledge or self._knowledge)

    def check(self, item: PlannedItem, plan: PlanContext, limit: int = 3) -> list[Match]:
        """The best existing items for one planned item, best first; what the band calls new is left out."""
        return self._matches(item, self.plan([item], plan), limit)

    def check_plan(self, items: Sequence[PlannedItem], plan: PlanContext, limit: int = 3) -> PlanCheck:
        """Every item of a plan, and the resources that would spare the collection."""
        about = self.plan(items, plan)
        found = [self._matches(item, about, max(limit, _COVERING_RESOURCES)) for item in items]
        checks = tuple(
            ItemCheck(item, matches[0].band if matches else "new", tuple(matches[:limit]))
            for item, matches in zip(items, found, strict=True)
        )
        return PlanCheck(checks, coverage(found), self.model_version)

    def candidates(
        self, name: str, near: Iterable[int] = (), meanings: Shares | None = None
    ) -> dict[int, float]:
        """Numbers of names worth comparing, with their similarity: same, aliases, same words, initials, n-grams,
        and names of the `near` resources that hold the same kind of value."""
        key = name_key(name)
        if not key:
            return {}
        found = self.index.similar(key, _SIMILAR_NAMES, _LEAST_SIMILARITY)
        last = tokens(key)[-1]
        others = {*self._same_element(key), *self.index.of_same_words(key)}
        for resource in near:
            others.update(
                int(n) for n in self.index.names_of(resource) if tokens(self.index.names[n])[-1] == last
            )
        if meanings is not None:
            others.update(
                int(n) for n in largest(meanings, _SIMILAR_MEANINGS) if meanings[n] >= _LEAST_MEANING
            )
        return {**{n: self.index.similarity(key, n) for n in others}, **found}

    def ranked(self, name: str, near: Iterable[int] = ()) -> list[int]:
        """Candidates by likeness alone: the same element, the same words, then by n-grams."""
        key = name_key(name)
        same, alike, meanings = (
            self._same_element(key),
            self.index.of_same_words(key),
            self.index.meanings(key),
        )
        found = self.candidates(name, near, meanings)
        likeness = found if meanings is None else {n: found[n] / 2 + float(meanings[n]) for n in found}
        return sorted(found, key=lambda n: (n not in same, n not in alike, -likeness[n], n))

    def evidence(self, item: PlannedItem, plan: _Plan) -> Iterator[tuple[ItemProfile, list[Evidence]]]:
        """Every profile that is compared with a planned item, and what is seen of the two."""
        key = name_key(item.name)
        if not key:
            return
        planned = _side(item, plan.context)
        same = self._same_element(key)
        identifies = self.scorer.identifies(key)
        own, said = plan.own.get(key, frozenset()), topic(key) & plan.context.of_title
        meanings = self.index.meanings(key)
        likeness = self.index.likeness(key) if meanings is None else meanings
        beside = np.zeros(len(self.index.contexts), np.bool_)  # the resources that hold the very name
        if (number := self.index.number_of.get(key)) is not None:
            beside[self.index.resources_of(number)] = True
        for name, similarity in self.candidates(item.name, plan.near, meanings).items():
            meaning = 0.0 if meanings is None else max(float(meanings[name]), 0.0)
            limit = _PROFILES_OF_SAME if name in same else _PROFILES_OF_SIMILAR
            apart = self._apart(key, name, plan, same, beside)
            for profile, resource in self.index.held(name, plan.preference, limit):
                context = self.index.contexts[resource]
                seen = self.scorer.of_names(
                    key, self.index.names[name], plan.context, context, similarity, meaning
                )
                generic = any(found.code == "generic_name" for found in seen)
                seen += apart
                seen += self.scorer.of_values(planned, _existing(profile, context))
                others = int(plan.company[resource]) - (resource in own)
                named = said & topic(self.index.names[name])
                around = self._of_context(plan, resource, named, generic=generic)
                if identifies:
                    left_out = (*OF_OTHERS, *(_OF_OTHER_TITLES if profile.is_identifier else ()))
                    around = [found for found in around if found.code not in left_out]
                seen += around
                seen += company(others)
                if any(found.code == "similar_name" for found in seen):
                    seen += nearest(self._lead(likeness, name, resource))
                yield profile, seen

    def plan(self, items: Sequence[PlannedItem], context: PlanContext) -> _Plan:
        """What the items of a plan have in common when they are compared."""
        topical = self.index.topical(context)
        held = np.zeros(len(self.index.contexts), np.float32)
        shared = np.zeros_like(held)
        elements: dict[str, str] = {}
        own: dict[str, frozenset[int]] = {}
        for key in {name_key(item.name) for item in items}:
            if not key:
                continue
            same = self._same_element(key)
            elements.update((self.index.names[name], key) for name in same)
            elements[key] = key
            resources = self._resources_of(same)
            if key not in MEANINGLESS and not self.scorer.is_generic(key):
                own[key] = resources
                numbers = np.fromiter(resources, np.int32)
                held[numbers] += 1
                shared[numbers] += self.index.telling(same)
        if len(own) < KINDRED:  # too few to tell what a plan is about
            shared[:] = 0
        relevance = (topical + np.minimum(shared, KINDRED) / KINDRED).astype(np.float32)
        kin = self.index.kindred(relevance) if relevance.any() else np.full_like(relevance, KINSHIP)
        return _Plan(context, topical, held, kin, own, elements)

    def _matches(self, item: PlannedItem, plan: _Plan, limit: int) -> list[Match]:
        model = self._knowledge.model
        found = []
        for profile, seen in self.evidence(item, plan):
            score = model.score(self.scorer.weigh(seen))
            if (band := model.band(score, [one.code for one in seen])) != "new":
                # Whoever is to use what is there recognises it first by its own name.
                renamed = name_key(profile.name) != name_key(item.name)
                found.append((band != "reuse_expected", renamed, -score, profile.id, profile, band, seen))
        best = heapq.nsmallest(limit, found, key=lambda match: match[:4])
        return [self._match(profile, -score, band, seen) for *_, score, _, profile, band, seen in best]

    def _match(self, profile: ItemProfile, score: float, band: Band, seen: Sequence[Evidence]) -> Match:
        reasons = self.scorer.reasons(seen)
        against = min(reasons, key=lambda reason: reason.weight, default=None)
        vetoes = [reason for reason in reasons if reason.code in SEPARATIONS]
        if vetoes:
            against = vetoes[0]
        return Match(profile, score, band, reasons, against if against and against.weight <= 0 else None)

    def _same_element(self, key: str) -> frozenset[int]:
        """Numbers of names that name the same element: the key itself, aliases, initials either way."""
        known = {self.index.number_of.get(name) for name in self.scorer.aliases.of(key)}
        return frozenset(n for n in known | self.index.of_initials(key) if n is not None)

    def _resources_of(self, names: Iterable[int]) -> frozenset[int]:
        return frozenset(int(r) for name in names for r in self.index.resources_of(name))

    def _apart(
        self, key: str, name: int, plan: _Plan, same: frozenset[int], beside: NDArray[np.bool_]
    ) -> list[Evidence]:
        """What catalog or plan says against a name: it stands `beside` the key somewhere, or a code may mean more."""
        other = self.index.names[name]
        if name in same:
            spelt = {n for n in same if is_initials(key, self.index.names[n])} if other != key else set()
            elements = {self.scorer.aliases.of(self.index.names[n]) for n in spelt}
            return [Evidence("ambiguous_initials", values=(("one", key),))] if len(elements) > 1 else []
        if beside[self.index.resources_of(name)].any():
            return [Evidence("held_apart", values=(("one", key), ("other", other)))]
        if plan.elements.get(other, key) != key:
            return [Evidence("another_planned", values=(("one", plan.elements[other]),))]
        return []

    def _lead(self, likeness: Shares, name: int, resource: int) -> float:
        """How much nearer a name is than the next one of its resource; below 0 where another is nearer."""
        held = self.index.names_of(resource)
        others = likeness[held[held != name]]
        return float(likeness[name] - others.max()) if len(others) else 0.0

    def _of_context(
        self, plan: _Plan, resource: int, named: frozenset[str], *, generic: bool
    ) -> list[Evidence]:
        """`named`: what titles have in common by naming the item, which tells nothing."""
        if (resource, generic, named) not in plan.contexts:
            context = self.index.contexts[resource]
            seen = list(
                self.scorer.of_contexts(
                    plan.context, context, generic=generic,
                    topical=min(float(plan.topical[resource]), 1.0), kin=float(plan.kin[resource]),
                )
            )  # fmt: skip
            # Of the same people or things, as the plan says itself, titles need not agree but in their place.
            told = plan.context.population and any(one.code in _SAME_OBJECTS for one in seen)
            titles = self.scorer.of_titles(plan.context, context, named)
            seen += [one for one in titles if not told or one.code == "other_place"]
            plan.contexts[resource, generic, named] = seen
        return plan.contexts[resource, generic, named]


def _side(item: PlannedItem, context: Context) -> Side:
    return Side(
        name=item.name, definition=item.definition, data_type=item.data_type, code_list=item.code_list,
        is_identifier=item.is_identifier, context=context,
    )  # fmt: skip


def _existing(profile: ItemProfile, context: Context) -> Side:
    return Side(
        name=profile.name, definition=profile.definition, data_type=profile.data_type,
        code_list=profile.code_list, is_identifier=profile.is_identifier, context=context,
    )  # fmt: skip


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
