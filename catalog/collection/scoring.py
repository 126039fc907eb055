"""How likely two items mean the same, as contributions that add up, each said in words.

Pure. Owns the evidence and its sentences; the weights stand in `knowledge.Model`. What separates two names
in some resource of the catalog (CannotLink) separates them elsewhere too.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from app.kernel.text import Text
from catalog.collection.knowledge import GENERIC, IDENTIFIERS, MEANINGLESS, POPULATIONS, Knowledge
from catalog.collection.normalise import (
    about,
    contrast,
    difference,
    head_kinds,
    name_key,
    numbers,
    places,
    population_kinds,
    representation,
    topic,
    type_class,
    usual,
)
from catalog.collection.sentences import EMPTY, SENTENCES
from catalog.text import fold, initials

_MINED_NAMES = 150  # names of one resource that are compared pairwise
_MINED_LENGTH = 6  # characters a substitution may have
_MINED_SHARED = 0.5  # what the two names must share
_VERY_SIMILAR = 0.7
_ONE_WORD = 2  # characters
KINSHIP = 0.4  # from where on resources are about the same objects
_OTHER_TOPIC, _TOPIC_OF_GENERIC = 0.1, 0.4  # likeness of topics below which they count as different
_OTHER_TITLE = 0.4  # likeness of titles below which two resources are about other things
_PART_LENGTH, _OF_ONE_SERIES = 8, 0.4  # of what two titles of a series differ by, and what they share
_CLEAR_LEAD = 0.3  # in likeness, over the next name of the resource
_MEANINGS = (
    ("similar_meaning", 0.4, 0.7),
    ("same_meaning", 0.7, 0.95),
)  # from and to which cosine each counts
_COMPANY = 3  # other items of the plan in one resource that count as much as any more
# How two names may be the same; of these a match has one.
NAME_EVIDENCE = ("same_name", "alias", "initials", "same_words", "said_by_topic", "similar_name")


@dataclass(frozen=True, slots=True)
class Reason:
    """One contribution; the weights of a match add up to the log-odds of its score."""

    code: str
    text: Text
    weight: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something seen of two items: `share` is 0-1, `values` fill the sentence."""

    code: str
    share: float = 1.0
    values: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an item is asked about: a plan's or a resource's title, and from whom."""

    title: str = ""
    population: str = ""

    @cached_property
    def about(self) -> frozenset[str]:
        """Tokens of the topic."""
        return topic(f"{self.title} {self.population}")

    @cached_property
    def of_title(self) -> frozenset[str]:
        """Tokens of the title alone."""
        return topic(self.title)

    @cached_property
    def said(self) -> str:
        """The text in which a name's qualifier may be found."""
        return usual(fold(f"{self.title} {self.population}"))

    @cached_property
    def kinds(self) -> frozenset[int]:
        """The object classes it speaks of."""
        return head_kinds(self.population) or population_kinds(self.title)

    @cached_property
    def bare_title(self) -> str:
        return about(self.title)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two items compared, in its context."""

    name: str
    definition: str = ""
    data_type: str = ""
    code_list: str = ""
    is_identifier: bool = False
    context: Context


@dataclass
class CannotLink:
    """Substitutions that tell items of one resource apart, with the number of resources that show each."""

    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)

    def learn(self, keys: Iterable[str], times: int = 1) -> None:
        """Count what separates similar names of one resource: 男/女, 上/本. `times=-1` forgets them."""
        self.pairs.update(dict.fromkeys(_separating(tuple(sorted(set(keys))[:_MINED_NAMES])), times))


def _separating(keys: tuple[str, ...]) -> set[tuple[str, str]]:
    alike: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        alike[f"^{key[:2]}"].append(key)
        alike[f"{key[-2:]}$"].append(key)
    found: set[tuple[str, str]] = set()
    for near in alike.values():
        for position, one in enumerate(near):
            for other in near[position + 1 :]:
                cut = difference(one, other)
                pair = cut.pair
                if cut.shared >= _MINED_SHARED and 0 < len(pair[1]) <= _MINED_LENGTH:
                    found.add(pair)
    return found


class AliasTable:
    """Data element of a name: aliases share one, every other name is its own."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        self._element: dict[str, int] = {}
        self._names: dict[int, set[str]] = {}
        for row in rows:
            keys = {name_key(name) for name in row}
            known = {self._element[key] for key in keys if key in self._element}
            number = min(known, default=len(self._names))
            names = self._names.setdefault(number, set())
            for merged in known - {number}:
                keys |= self._names.pop(merged)
                self._names[merged] = set()
            names |= keys
            self._element.update(dict.fromkeys(names, number))

    def of(self, key: str) -> frozenset[str]:
        """All names of the element, the given one included."""
        number = self._element.get(key)
        return frozenset({key}) if number is None else frozenset(self._names[number])


@dataclass(frozen=True, slots=True)
class Scorer:
    """Compares two items with what is known and what the catalog itself teaches."""

    knowledge: Knowledge
    aliases: AliasTable
    cannot_link: CannotLink
    common: frozenset[str]  # keys of names that so many resources hold that they tell nothing by themselves
    rarity: Mapping[str, float]  # weight of a topic token; a token never seen weighs `unseen`
    unseen: float

    def evidence(
        self,
        planned: Side,
        existing: Side,
        *,
        similarity: float,
        meaning: float = 0.0,
        contained: float = 0.0,
    ) -> list[Evidence]:
        """What is seen of two items. `similarity` of names (n-gram cosine), their likeness in `meaning` and
        `contained` (what else of one item's resource the other's holds) are 0-1."""
        one, other = name_key(planned.name), name_key(existing.name)
        found = self.of_names(one, other, planned.context, existing.context, similarity, meaning)
        generic = any(seen.code == "generic_name" for seen in found)
        return [
            *found,
            *self.of_values(planned, existing),
            *self.of_contexts(planned.context, existing.context, generic=generic, contained=contained),
        ]

    def weigh(self, found: Iterable[Evidence]) -> float:
        """The sum of the contributions: log-odds."""
        weights = self.knowledge.model.weights
        return sum(weights.get(seen.code, 0.0) * seen.share for seen in found)

    def reasons(self, found: Iterable[Evidence]) -> tuple[Reason, ...]:
        """The evidence in words, heaviest first."""
        weights = self.knowledge.model.weights
        said = [
            Reason(
                seen.code,
                SENTENCES[seen.code].with_(
                    share=round(seen.share * 100), **{k: v or EMPTY for k, v in seen.values}
                ),
                round(weights.get(seen.code, 0.0) * seen.share, 4),
            )
            for seen in found
        ]
        return tuple(sorted(said, key=lambda reason: -abs(reason.weight)))

    def is_generic(self, key: str) -> bool:
        """Whether a name says nothing about what it describes, by itself or because everybody uses it."""
        return (key in GENERIC or key in self.common) and not self.identifies(key)

    def identifies(self, key: str) -> bool:
        """Whether it is the number by which an object is known everywhere."""
        return not _IDENTIFYING.isdisjoint(self.aliases.of(key))

    def of_names(
        self, one: str, other: str, plan: Context, held: Context, similarity: float, meaning: float
    ) -> list[Evidence]:
        """What two keys say, each in its context."""
        found: list[Evidence] = []
        known = self.aliases.of(one)
        if one == other:
            found.append(Evidence("same_name", values=(("name", other),)))
        elif other in known:
            found.append(_two("alias", one, other))
        elif is_initials(one, other) or is_initials(other, one):
            code, name = (one, other) if is_initials(one, other) else (other, one)
            found.append(_two("initials", code, name))
        else:
            found.extend(self._of_other_names(one, other, plan, held, similarity, meaning))
        ruled = self.knowledge.in_context.get(frozenset({(one, plan.said), (other, held.said)}))
        if ruled is False or frozenset({one, other}) in self.knowledge.different:
            found.append(Evidence("ruled_different"))
        elif ruled:
            found.append(Evidence("ruled_same"))
        if self.identifies(one) and other in known:
            found.append(Evidence("identifying_number"))
        if one in MEANINGLESS or other in MEANINGLESS:
            found.append(Evidence("meaningless_name"))
        elif self.is_generic(one) or self.is_generic(other):
            found.append(Evidence("generic_name"))
            if any(seen.code == "addition" for seen in found):
                found.append(Evidence("generic_addition"))
        return found

    def _of_other_names(
        self, one: str, other: str, plan: Context, held: Context, similarity: float, meaning: float
    ) -> Iterator[Evidence]:
        cut = difference(one, other)
        opposed = contrast(one, other)
        if opposed:
            yield Evidence("similar_name", similarity)
            yield _two("contrast", *opposed)
            return
        if numbers(one) != numbers(other):
            yield Evidence("similar_name", similarity)
            yield _two("other_number", " ".join(numbers(one)), " ".join(numbers(other)))
            return
        if cut.same_words:
            yield _two("same_words", one, other)
            return
        if _said_by_topic(cut.left, cut.right, plan, held):
            yield Evidence("said_by_topic", values=(("one", " ".join((*cut.left, *cut.right))),))
            return
        yield Evidence("shared_words", cut.shared)
        yield Evidence("similar_name", similarity)
        if similarity >= _VERY_SIMILAR:
            yield Evidence("very_similar_name")
        if meaning > 0:
            yield from _meaning(meaning)
        yield from self._separations(one, other, plan, held)

    def _separations(self, one: str, other: str, plan: Context, held: Context) -> Iterator[Evidence]:
        """Why two similar names are different elements: one reason only, as they are not independent."""
        cut = difference(one, other)
        seen = self.cannot_link.pairs[cut.pair] if cut.shared >= _MINED_SHARED else 0
        kinds = representation(one), representation(other)
        left, right = cut.left, cut.right
        if not left or not right:  # a word in the place of another is no addition, whatever the topics say
            left = tuple(run for run in left if not _said_elsewhere((run,), held))
            right = tuple(run for run in right if not _said_elsewhere((run,), plan))
        if seen:
            yield Evidence(
                "separated_in_catalog", values=(("count", seen), ("one", cut.pair[0]), ("other", cut.pair[1]))
            )
        elif all(kinds) and kinds[0] != kinds[1]:
            yield _two("other_representation", *kinds)
        elif not left or not right:
            yield Evidence("addition", values=(("other", " ".join(left or right)),))
        elif len(left) == len(right) == 1 and max(len(left[0]), len(right[0])) <= _ONE_WORD:
            yield _two("one_word", left[0], right[0])
        else:
            yield _two("other_words", " ".join(left), " ".join(right))

    def of_values(self, planned: Side, existing: Side) -> Iterator[Evidence]:
        """Type, code list, identifier and definition."""
        types = type_class(planned.data_type), type_class(existing.data_type)
        if all(types):
            yield _two(
                "same_type" if types[0] == types[1] else "other_type", planned.data_type, existing.data_type
            )
        lists = fold(planned.code_list), fold(existing.code_list)
        if all(lists):
            code = "same_code_list" if lists[0] == lists[1] else "other_code_list"
            yield _two(code, planned.code_list, existing.code_list)
        if planned.is_identifier and existing.is_identifier:
            yield Evidence("both_identify")
        if planned.definition and existing.definition:
            share = self.overlap(topic(planned.definition), topic(existing.definition))
            if share > 0:
                yield Evidence("same_definition", share)

    def of_contexts(
        self,
        plan: Context,
        held: Context,
        *,
        generic: bool,
        topical: float | None = None,
        kin: float | None = None,
        contained: float = 0.0,
    ) -> Iterator[Evidence]:
        """Topic, population and period, and `kin`: how much both are about the same objects by what they hold. A
        generic name depends on them, hence weights of its own."""
        yield from self._of_topics(plan, held, generic=generic, topical=topical, kin=kin, contained=contained)
        same = _same_population(plan, held)
        if same:
            yield Evidence("same_population", values=(("one", plan.population),))
        if same or plan.kinds & held.kinds:
            yield Evidence("kindred_population")
            if generic:
                yield Evidence("generic_same_population")
        else:
            if plan.kinds and held.kinds:
                yield _two("other_population", plan.population or plan.title, held.population or held.title)
            yield from self._unrelated(plan, held, topical=topical, kin=kin, contained=contained)
        opposed = contrast(plan.bare_title, held.bare_title) if plan.about & held.about else None
        if opposed:
            yield _two("other_group", *opposed)
        periods = period(plan.title), period(held.title)
        if all(periods) and periods[0] != periods[1]:
            yield _two("other_period", *periods)

    def _unrelated(
        self, plan: Context, held: Context, *, topical: float | None, kin: float | None, contained: float
    ) -> Iterator[Evidence]:
        """Neither topic nor object class: only the plan's other items speak for its being about the same."""
        share, kin = self._nearness(plan, held, topical, kin, contained)
        if share < _OTHER_TOPIC:
            yield Evidence("unrelated", min((1 - kin) / (1 - KINSHIP), 1.0))

    def _nearness(
        self, plan: Context, held: Context, topical: float | None, kin: float | None, contained: float
    ) -> tuple[float, float]:
        share = self.overlap(plan.about, held.about) if topical is None else topical
        return share, max(share, contained) if kin is None else kin

    def _of_topics(
        self,
        plan: Context,
        held: Context,
        *,
        generic: bool,
        topical: float | None,
        kin: float | None,
        contained: float,
    ) -> Iterator[Evidence]:
        share, kin = self._nearness(plan, held, topical, kin, contained)
        if kin > KINSHIP:
            near = (kin - KINSHIP) / (1 - KINSHIP)
            yield Evidence("kindred", near)
            if generic:
                yield Evidence("generic_kindred", near)
        elif kin < KINSHIP:
            yield Evidence("foreign", 1 - kin / KINSHIP)
        if share > 0:
            yield Evidence("same_topic", share)
            if generic:
                yield Evidence("generic_same_topic", share)
        if plan.about and held.about:
            if share < _OTHER_TOPIC and kin < KINSHIP:
                yield Evidence("other_topic")
            if generic and max(share, kin) < _TOPIC_OF_GENERIC:
                yield Evidence("generic_elsewhere")

    def of_titles(
        self, plan: Context, held: Context, named: frozenset[str] = frozenset()
    ) -> Iterator[Evidence]:
        """What leaves every match of two titles to people, one reason: another place, another part of one
        series (观音 ≠ 大溪), or other subjects, or none, once what is `named` there is left out."""
        areas = places(plan.title), places(held.title)
        cut = difference(plan.bare_title, held.bare_title)
        if not (areas[0] <= areas[1] or areas[1] <= areas[0]):
            yield _two(
                "other_place", "、".join(sorted(areas[0] - areas[1])), "、".join(sorted(areas[1] - areas[0]))
            )
        elif cut.shared >= _OF_ONE_SERIES and cut.left and cut.right and len(cut.pair[1]) <= _PART_LENGTH:
            yield _two("other_part", " ".join(cut.left), " ".join(cut.right))
        elif plan.title and held.title:
            said = named & plan.of_title & held.of_title
            if self.overlap(plan.of_title - said, held.of_title - said) < _OTHER_TITLE:
                yield Evidence("other_title")

    def overlap(self, one: frozenset[str], other: frozenset[str]) -> float:
        """Cosine of two token sets, 0-1, in which words that every title has weigh little."""
        weights = [sum(self.rarity.get(t, self.unseen) ** 2 for t in tokens) for tokens in (one, other)]
        if not all(weights):
            return 0.0
        common = sum(self.rarity.get(token, self.unseen) ** 2 for token in one & other)
        return float(common / (weights[0] * weights[1]) ** 0.5)


_IDENTIFYING = frozenset(map(name_key, IDENTIFIERS))
_PERIOD = re.compile(r"(?<!\d)\d{3,4}(?!\d)|\d{1,2}月|第?[一二三四1-4]季|[上下]半年")


def _two(code: str, one: object, other: object) -> Evidence:
    return Evidence(code, values=(("one", one), ("other", other)))


def company(others: int) -> Iterator[Evidence]:
    """`others`: how many further items of the plan the resource holds under the same name."""
    if others:
        yield Evidence("same_company", min(others, _COMPANY) / _COMPANY)


def nearest(lead: float) -> Iterator[Evidence]:
    """`lead`: by how much the name is nearer than any other of its resource; below 0 where another is nearer."""
    if lead > 0:
        yield Evidence("nearest_here", min(lead / _CLEAR_LEAD, 1.0))
    elif lead < 0:
        yield Evidence("another_nearer", min(-lead / _CLEAR_LEAD, 1.0))


def _meaning(cosine: float) -> Iterator[Evidence]:
    """In two steps, as a cosine tells most in its upper third."""
    for code, least, most in _MEANINGS:
        if cosine > least:
            yield Evidence(code, min((cosine - least) / (most - least), 1.0))


def is_initials(code: str, name: str) -> bool:
    """Whether a column code is the pinyin initials of a name."""
    return code.isascii() and code in initials_of(name)


@lru_cache(maxsize=262_144)
def initials_of(name: str) -> frozenset[str]:
    """The codes a Chinese name may go by; 号 is often meant for 号码."""
    if len(name) < 2 or name.isascii():
        return frozenset()
    return frozenset({initials(name), initials(f"{name}码" if name.endswith("号") else name)})


def _said_by_topic(left: Sequence[str], right: Sequence[str], plan: Context, held: Context) -> bool:
    """Whether what the names differ by is said by the other's topic, or is one object class in two words."""
    if left and right:
        classes = [frozenset[int]().union(*map(_kindred, runs)) for runs in (left, right)]
        return bool(classes[0] & classes[1]) and len(left) == len(right) == 1
    return _said_elsewhere(left, held) and _said_elsewhere(right, plan)


def _said_elsewhere(runs: Iterable[str], context: Context) -> bool:
    """Whether each run is said by the other side's title or population, or by a word of the same object class."""
    return all(len(run) > 1 and (run in context.said or _kindred(run) & context.kinds) for run in runs)


_OBJECT_CLASSES = {word: row for row, words in enumerate(POPULATIONS) for word in words}


def _kindred(run: str) -> frozenset[int]:
    return frozenset({_OBJECT_CLASSES[run]}) if run in _OBJECT_CLASSES else frozenset()


@lru_cache(maxsize=65536)
def period(title: str) -> str:
    """The years a title names, and what part of a year: 106年1月, 第二季度."""
    return " ".join(_PERIOD.findall(fold(title)))


def _same_population(plan: Context, held: Context) -> bool:
    """Said alike, or, where the resource does not say whom it describes, named in its title."""
    wanted = fold(plan.population)
    if held.population or len(wanted) < 2:
        return bool(wanted) and wanted == fold(held.population)
    return wanted in fold(held.title)
