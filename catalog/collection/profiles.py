"""What the catalog holds, indexed for comparing: names by n-grams, words and initials, resources by topic.

Pure. A value of it never changes: `with_changes` makes the next one and shares what stays, so that readers go on
undisturbed. Refuses to judge; that is `matching`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from catalog.collection.meaning import Encoder, Vectors
from catalog.collection.normalise import grams, name_key, tokens
from catalog.collection.scoring import CannotLink, Context, initials_of
from catalog.text import initials

Numbers = NDArray[np.int32]
Shares = NDArray[np.float32]
Weights = NDArray[np.float64]
_NONE: Numbers = np.empty(0, np.int32)
_COMMON_FEW, _COMMON_SHARE = 10, 0.004
_LOOKED_AT, _OF_ONE_TOPIC = (
    12,
    0.25,
)  # resources of a name, and what their topics share where it is of one topic
_NEAREST = 5  # resources taken for as near as any can be
_STALE = 0.3  # of the resources: past that the index is made anew


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


@dataclass(slots=True)
class _Postings:
    """An inverted index that grows: feature → numbers of what has it, and the weight of each feature."""

    of: dict[str, Numbers] = field(default_factory=dict)
    rows: list[tuple[str, ...]] = field(default_factory=list)
    rarity: dict[str, float] = field(default_factory=dict)  # frozen when the index is made
    unseen: float = 1.0
    norms: Shares = field(default_factory=lambda: np.empty(0, np.float32))

    def extended(self, rows: Sequence[tuple[str, ...]]) -> _Postings:
        """With further rows; weights stay as they are unless this is the first filling."""
        first = len(self.rows)
        added: dict[str, list[int]] = {}
        for number, features in enumerate(rows, first):
            for feature in features:
                added.setdefault(feature, []).append(number)
        held = dict(self.of)
        for feature, numbers in added.items():
            fresh = np.array(numbers, np.int32)
            held[feature] = np.concatenate([held[feature], fresh]) if feature in held else fresh
        if first:
            rarity, unseen = self.rarity, self.unseen
        else:
            rarity = {feature: math.log(1 + len(rows) / len(numbers)) for feature, numbers in held.items()}
            unseen = math.log(2 + len(rows))
        norms = np.array([_norm(features, rarity, unseen) for features in rows], np.float32)
        return _Postings(held, [*self.rows, *rows], rarity, unseen, np.concatenate([self.norms, norms]))

    def cosines(self, features: Iterable[str]) -> Shares:
        """TF-IDF cosine of every row with these features."""
        wanted = tuple(features)
        found = np.zeros(len(self.rows), np.float32)
        for feature in wanted:
            numbers = self.of.get(feature)
            if numbers is not None:
                found[numbers] += self.rarity.get(feature, self.unseen) ** 2
        length = _norm(wanted, self.rarity, self.unseen)
        return found / (self.norms * length) if length else found


def _norm(features: Iterable[str], rarity: Mapping[str, float], unseen: float) -> float:
    return math.sqrt(sum(rarity.get(feature, unseen) ** 2 for feature in features)) or 1.0


class CatalogIndex:
    """Distinct names with their profiles, and resources with their contexts."""

    def __init__(self, profiles: Iterable[ItemProfile] = (), encoder: Encoder | None = None) -> None:
        self.encoder = encoder
        self._vectors: Vectors = np.empty((0, 0), np.float32)
        self.names: list[str] = []
        self.number_of: dict[str, int] = {}
        self.cannot_link = CannotLink()
        self.topics = _Postings()
        self.contexts: list[Context] = []
        self.alive: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._spelling = _Postings()
        self._by_words: dict[tuple[str, ...], tuple[int, ...]] = {}
        self._by_initials: dict[str, tuple[int, ...]] = {}
        self._profiles: list[ItemProfile] = []
        # Of each name: how many hold it, and how rare it is; of each resource: how rare its names are together.
        self._count: Weights = np.empty(0, np.float64)
        self._telling: Weights = np.empty(0, np.float64)
        self._told: Weights = np.empty(0, np.float64)
        self._resource_of: Numbers = _NONE
        self._name_of: Numbers = _NONE
        self._of_name: list[Numbers] = []
        self._names_of: list[Numbers] = []
        self._resource_number: dict[str, int] = {}
        self._add(profiles)

    def __len__(self) -> int:
        """The number of profiles that stand."""
        return int(self.alive[self._resource_of].sum()) if len(self._resource_of) else 0

    def with_changes(self, gone: Iterable[str], profiles: Iterable[ItemProfile]) -> CatalogIndex:
        """Without the resources `gone`, and with these profiles, whose resources replace what stood before."""
        added = list(profiles)
        numbers = {self._resource_number.get(r) for r in (*gone, *(p.resource_id for p in added))} - {None}
        dead = np.array(sorted(n for n in numbers if n is not None), np.int32)
        if not self.contexts or (~self.alive).sum() + len(dead) > _STALE * len(self.contexts):
            kept = self.alive.copy()
            kept[dead] = False
            standing = [p for p, r in zip(self._profiles, self._resource_of, strict=True) if kept[r]]
            return CatalogIndex([*standing, *added], self.encoder)
        following = CatalogIndex.__new__(CatalogIndex)
        for name, value in vars(self).items():
            setattr(following, name, value.copy() if isinstance(value, list | dict | np.ndarray) else value)
        following.cannot_link = CannotLink(self.cannot_link.pairs.copy())
        for number in dead:
            following.alive[number] = False
            following.cannot_link.learn((self.names[n] for n in self._names_of[number]), -1)
        following._add(added)
        return following

    def _add(self, profiles: Iterable[ItemProfile]) -> None:
        first_name, first_resource = len(self.names), len(self.contexts)
        resources: list[int] = []
        names: list[int] = []
        of_name: dict[int, list[int]] = {}
        names_of: dict[int, dict[int, None]] = {}
        numbered: dict[str, int] = {}
        for profile in profiles:
            key = name_key(profile.name)
            if not key:
                continue
            resource = numbered.get(profile.resource_id)
            if resource is None:
                resource = numbered[profile.resource_id] = len(self.contexts)
                self.contexts.append(Context(title=profile.resource_title, population=profile.population))
            name = self.number_of.setdefault(key, len(self.names))
            if name == len(self.names):
                self.names.append(key)
            if name in names_of.setdefault(resource, {}):  # one profile for a name and a resource
                continue
            names_of[resource][name] = None
            of_name.setdefault(name, []).append(len(self._profiles))
            self._profiles.append(profile)
            resources.append(resource)
            names.append(name)
        self._name_of = np.concatenate([self._name_of, np.array(names, np.int32)])
        self._resource_number.update(numbered)
        self._resource_of = np.concatenate([self._resource_of, np.array(resources, np.int32)])
        self.alive = np.concatenate([self.alive, np.ones(len(numbered), np.bool_)])
        self._of_name.extend([_NONE] * (len(self.names) - first_name))
        for name, numbers in of_name.items():
            fresh = np.array(numbers, np.int32)
            self._of_name[name] = (
                np.concatenate([self._of_name[name], fresh]) if len(self._of_name[name]) else fresh
            )
        for resource in range(first_resource, len(self.contexts)):
            held = names_of[resource]
            self._names_of.append(np.fromiter(held, np.int32, len(held)))
            self.cannot_link.learn(self.names[n] for n in held)
        self._count = np.bincount(self._name_of, minlength=len(self.names)).astype(np.float64)
        self._telling = np.log(1 + len(self.contexts) / np.maximum(self._count, 1))
        told = np.bincount(self._resource_of, self._telling[self._name_of], len(self.contexts))
        self._told = np.maximum(told, 1e-9)
        self._index_names(first_name)
        self.topics = self.topics.extended([tuple(sorted(c.about)) for c in self.contexts[first_resource:]])

    def _index_names(self, first: int) -> None:
        fresh = self.names[first:]
        self._spelling = self._spelling.extended([grams(key) for key in fresh])
        if self.encoder is not None and fresh:
            added = self.encoder.encode(fresh)
            self._vectors = np.vstack([self._vectors, added]) if len(self._vectors) else added
        for number, key in enumerate(fresh, first):
            words = tuple(sorted(tokens(key)))
            self._by_words[words] = (*self._by_words.get(words, ()), number)
            for spelt in initials_of(key):
                self._by_initials[spelt] = (*self._by_initials.get(spelt, ()), number)

    # What is asked of it

    def similar(self, key: str, limit: int, least: float) -> dict[int, float]:
        """Names by n-grams, nearest first."""
        if not self.names:
            return {}
        found = self._spelling.cosines(grams(key))
        return {int(n): min(float(found[n]), 1.0) for n in largest(found, limit) if found[n] >= least}

    def likeness(self, key: str) -> Shares:
        """The n-gram cosine of every name."""
        return self._spelling.cosines(grams(key))

    def similarity(self, key: str, name: int) -> float:
        """The n-gram cosine of one name."""
        spelling = self._spelling
        wanted = frozenset(grams(key))
        common = sum(spelling.rarity.get(g, spelling.unseen) ** 2 for g in spelling.rows[name] if g in wanted)
        length = _norm(wanted, spelling.rarity, spelling.unseen) * float(spelling.norms[name])
        return min(common / length, 1.0)

    def meanings(self, key: str) -> Shares | None:
        """How near each name's meaning is, 0-1; None without an encoder."""
        if self.encoder is None or not self.names:
            return None
        near: Shares = self._vectors @ self.encoder.encode([key])[0]
        return near

    def of_same_words(self, key: str) -> set[int]:
        """Names that say the same words in any order, or what is left of the key without its first words."""
        said = tokens(key)
        ends = (said[n:] for n in range(len(said)))
        return {
            name
            for end in ends
            if sum(map(len, end)) > 1
            for name in self._by_words.get(tuple(sorted(end)), ())
        }

    def of_initials(self, key: str) -> set[int]:
        """Names of which the key is the pinyin initials, and the other way round."""
        found = set(self._by_initials.get(key, ()))
        spelt = self.number_of.get(initials(key)) if len(key) > 2 else None
        return found if spelt is None else {*found, spelt}

    def topical(self, context: Context) -> Shares:
        """How near each resource's topic is, 0-1."""
        return self.topics.cosines(sorted(context.about))

    def kindred(self, relevance: Shares) -> Shares:
        """How much each resource is about what the relevant ones are about, 0-1, told by what they hold: a name is
        as relevant as the resources that hold it, a resource as its names, of which rare ones count more."""
        if not len(self._name_of):
            return relevance
        weight = relevance.astype(np.float64) ** 2
        weight[~self.alive] = 0
        held_by = np.bincount(self._name_of, weight[self._resource_of], len(self.names))
        at_home: Weights = held_by * self._telling / (self._count + 1)
        found = np.bincount(self._resource_of, at_home[self._name_of], len(self.contexts)) / self._told
        most = np.partition(found, -_NEAREST)[-_NEAREST:].mean() if len(found) > _NEAREST else found.max()
        return np.minimum(np.sqrt(found / (most or 1.0)), 1.0).astype(np.float32)

    def telling(self, names: Iterable[int]) -> float:
        """How rare an element of these names is, 0-1: 0 where everybody holds it."""
        held = sum(len(self._of_name[n]) for n in names)
        total = len(self.contexts) + 1
        return max(math.log(total / (held + 1)) / math.log(total), 0.0) if total > 1 else 0.0

    def resources_of(self, name: int) -> Numbers:
        """The standing resources that hold a name."""
        numbers = self._resource_of[self._of_name[name]]
        return numbers[self.alive[numbers]]

    def all_of(self, name: int) -> list[ItemProfile]:
        """Every standing profile of a name."""
        return [self._profiles[n] for n in self._of_name[name] if self.alive[self._resource_of[n]]]

    def common_names(self) -> frozenset[str]:
        """Keys that more than a few of the resources hold."""
        limit = common_from(len(self.contexts))
        return frozenset(
            self.names[n]
            for n, held in enumerate(self._of_name)
            if len(held) >= limit and scattered([self.contexts[r].about for r in self._resource_of[held]])
        )

    def names_of(self, resource: int) -> Numbers:
        return self._names_of[resource]

    def held(self, name: int, preference: Shares, limit: int) -> list[tuple[ItemProfile, int]]:
        """Profiles of a name, and the numbers of their resources, by preference for a resource."""
        profiles = self._of_name[name]
        profiles = profiles[self.alive[self._resource_of[profiles]]]
        if len(profiles) > limit:
            profiles = profiles[largest(preference[self._resource_of[profiles]], limit)]
        return [(self._profiles[n], int(self._resource_of[n])) for n in profiles]


def common_from(resources: int) -> int:
    """How many resources hold a name that tells nothing by itself."""
    return max(_COMMON_FEW, round(_COMMON_SHARE * resources))


def scattered(topics: Sequence[frozenset[str]]) -> bool:
    """Whether resources of these topics have little in common: what they all hold tells nothing by itself."""
    step = max(len(topics) // _LOOKED_AT, 1)
    some = topics[::step][:_LOOKED_AT]
    pairs = [(one, other) for n, one in enumerate(some) for other in some[:n] if one and other]
    common = sum(len(one & other) / min(len(one), len(other)) for one, other in pairs)
    return common < _OF_ONE_TOPIC * len(pairs)


def largest(shares: Shares, limit: int) -> Numbers:
    """Positions of the largest, largest first; of equal ones the earlier."""
    if len(shares) > limit:
        chosen = np.argpartition(-shares, limit - 1)[:limit]
        least = shares[chosen].min()
        if (shares >= least).sum() > limit:  # which of equal ones is taken must not depend on chance
            above = np.flatnonzero(shares > least)
            chosen = np.concatenate([above, np.flatnonzero(shares == least)[: limit - len(above)]])
        shares_chosen = shares[chosen]
        return chosen[np.lexsort((chosen, -shares_chosen))].astype(np.int32)
    return np.argsort(-shares, kind="stable").astype(np.int32)
