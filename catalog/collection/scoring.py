"""How likely two items mean the same, as contributions that add up, each said in words.

Pure. Owns the evidence and its sentences; the weights stand in `knowledge.Model`. What separates two names
in some resource of the catalog (CannotLink) separates them elsewhere too.
"""

from __future__ import annotations

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
    population_kinds,
    representation,
    topic,
    type_class,
    usual,
)
from catalog.text import fold, initials

_MINED_NAMES = 150  # names of one resource that are compared pairwise
_MINED_LENGTH = 6  # characters a substitution may have
_MINED_SHARED = 0.5  # what the two names must share
_VERY_SIMILAR = 0.7
_ONE_WORD = 2  # characters
_OTHER_TOPIC, _TOPIC_OF_GENERIC = 0.1, 0.4  # likeness of topics below which they count as different
_COMPANY = 3  # other items of the plan in one resource that count as much as any more
# How two names may be the same; of these a match has one.
NAME_EVIDENCE = ("same_name", "alias", "initials", "same_words", "said_by_topic", "similar_name")

_SENTENCES = {
    "same_name": Text("名称相同（{name}）", "same name ({name})"),
    "alias": Text(
        "“{one}”与“{other}”是同一数据元的不同叫法",
        "“{one}” and “{other}” are names of one data element",
    ),
    "initials": Text("“{one}”是“{other}”的拼音首字母", "“{one}” are the pinyin initials of “{other}”"),
    "same_words": Text("“{one}”与“{other}”用词相同", "“{one}” and “{other}” say the same words"),
    "said_by_topic": Text(
        "名称之差“{one}”已由对方的采集对象或主题说明",
        "what the names differ by, “{one}”, the other's topic says",
    ),
    "similar_name": Text("名称相近（{share}%）", "similar names ({share}%)"),
    "very_similar_name": Text("名称很相近", "very similar names"),
    "similar_meaning": Text("语义相近（{share}%）", "similar in meaning ({share}%)"),
    "shared_words": Text("用词有 {share}% 相同", "{share}% of the words are the same"),
    "one_word": Text("一词之差：{one} ≠ {other}", "one word differs: {one} ≠ {other}"),
    "ambiguous_initials": Text(
        "目录中“{one}”可以是几个信息项的首字母", "in the catalog “{one}” may stand for several items"
    ),
    "other_words": Text("名称各有所指：{one} ≠ {other}", "each name says something else: {one} ≠ {other}"),
    "generic_same_topic": Text(
        "名称通用，而主题相近（{share}%）", "the name is generic, but the topics are close ({share}%)"
    ),
    "generic_same_population": Text(
        "名称通用，而采集对象相同", "the name is generic, but the population is the same"
    ),
    "same_company": Text("该资源还含有计划的其他信息项", "the resource also holds other items of the plan"),
    "held_apart": Text(
        "目录中有资源同时含有“{one}”和“{other}”",
        "some resource of the catalog holds both “{one}” and “{other}”",
    ),
    "another_planned": Text(
        "与计划的另一信息项“{one}”才是同一项", "it is the plan's other item “{one}” that it repeats"
    ),
    "ruled_same": Text("已有认定：二者是同一数据元", "already decided: this is one data element"),
    "identifying_number": Text(
        "通用的标识号码，处处同义", "a number that identifies its object wherever it stands"
    ),
    "generic_elsewhere": Text("名称通用，而主题不同", "the name is generic, and the topics differ"),
    "other_period": Text("时期不同：{one} ≠ {other}", "another period: {one} ≠ {other}"),
    "other_group": Text("对象相对：{one} ≠ {other}", "another group: {one} ≠ {other}"),
    "other_topic": Text("主题不同", "the topics have nothing in common"),
    "generic_name": Text(
        "名称过于通用，须看采集对象",
        "the name is generic; it depends on whom it describes",
    ),
    "meaningless_name": Text("该名称不构成数据元", "the name is no data element"),
    "same_type": Text("数据类型一致", "same data type"),
    "other_type": Text("数据类型不同（{one} ≠ {other}）", "different data types ({one} ≠ {other})"),
    "same_code_list": Text("采用同一代码表", "same code list"),
    "other_code_list": Text("代码表不同（{one} ≠ {other}）", "different code lists ({one} ≠ {other})"),
    "both_identify": Text("均为标识项", "both identify the record"),
    "same_population": Text("采集对象相同（{one}）", "same population ({one})"),
    "kindred_population": Text("采集对象属同一类", "populations of the same kind"),
    "other_population": Text("采集对象不同（{one} ≠ {other}）", "different populations ({one} ≠ {other})"),
    "same_topic": Text(
        "所属资源与计划主题相近（{share}%）",
        "resource and plan are about the same topic ({share}%)",
    ),
    "same_definition": Text("定义相近（{share}%）", "similar definitions ({share}%)"),
    "contrast": Text("含义相对：{one} ≠ {other}", "opposed in meaning: {one} ≠ {other}"),
    "other_representation": Text("表示不同：{one} ≠ {other}", "written differently: {one} ≠ {other}"),
    "separated_in_catalog": Text(
        "目录中有 {count} 个资源将“{one}”与“{other}”作为不同信息项",
        "{count} resource(s) of the catalog keep “{one}” and “{other}” as separate items",
    ),
    "ruled_different": Text(
        "已有认定：二者不是同一数据元",
        "already decided: these are different data elements",
    ),
    "other_number": Text("编号或年份不同：{one} ≠ {other}", "different numbers: {one} ≠ {other}"),
    "addition": Text(
        "一方多出“{other}”，范围可能不同",
        "one side adds “{other}”; the scope may differ",
    ),
}
_EMPTY = Text("（无）", "(none)")


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
        topical: float | None = None,
    ) -> list[Evidence]:
        """What is seen of two items. `similarity` of names (n-gram cosine), `meaning` (embeddings) and `topical`
        (of contexts) are 0-1; `topical` is computed when it is not given."""
        one, other = name_key(planned.name), name_key(existing.name)
        found = self.of_names(one, other, planned.context, existing.context, similarity, meaning)
        generic = any(seen.code == "generic_name" for seen in found)
        return [
            *found,
            *self.of_values(planned, existing),
            *self.of_contexts(planned.context, existing.context, generic=generic, topical=topical),
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
                _SENTENCES[seen.code].with_(
                    share=round(seen.share * 100), **{k: v or _EMPTY for k, v in seen.values}
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
            yield Evidence("similar_meaning", meaning)
        yield from self._separations(one, other, plan, held)

    def _separations(self, one: str, other: str, plan: Context, held: Context) -> Iterator[Evidence]:
        """Why two similar names are different elements: one reason only, as they are not independent."""
        cut = difference(one, other)
        seen = self.cannot_link.pairs[cut.pair] if cut.shared >= _MINED_SHARED else 0
        kinds = representation(one), representation(other)
        left = tuple(run for run in cut.left if not _said_elsewhere((run,), held))
        right = tuple(run for run in cut.right if not _said_elsewhere((run,), plan))
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
        self, plan: Context, held: Context, *, generic: bool, topical: float | None = None
    ) -> Iterator[Evidence]:
        """Topic, population and period. A generic name depends on them, hence weights of its own."""
        share = self.overlap(plan.about, held.about) if topical is None else topical
        if share > 0:
            yield Evidence("same_topic", share)
            if generic:
                yield Evidence("generic_same_topic", share)
        if plan.about and held.about:
            if share < _OTHER_TOPIC:
                yield Evidence("other_topic")
            if generic and share < _TOPIC_OF_GENERIC:
                yield Evidence("generic_elsewhere")
        same = _same_population(plan, held)
        if same:
            yield Evidence("same_population", values=(("one", plan.population),))
        if same or plan.kinds & held.kinds:
            yield Evidence("kindred_population")
            if generic:
                yield Evidence("generic_same_population")
        elif plan.kinds and held.kinds:
            yield _two("other_population", plan.population or plan.title, held.population or held.title)
        opposed = contrast(plan.bare_title, held.bare_title) if share > 0 else None
        if opposed:
            yield _two("other_group", *opposed)
        periods = _years(plan.title), _years(held.title)
        if all(periods) and periods[0] != periods[1]:
            yield _two("other_period", *periods)

    def overlap(self, one: frozenset[str], other: frozenset[str]) -> float:
        """Cosine of two token sets, 0-1, in which words that every title has weigh little."""
        weights = [sum(self.rarity.get(t, self.unseen) ** 2 for t in tokens) for tokens in (one, other)]
        if not all(weights):
            return 0.0
        common = sum(self.rarity.get(token, self.unseen) ** 2 for token in one & other)
        return float(common / (weights[0] * weights[1]) ** 0.5)


_IDENTIFYING = frozenset(map(name_key, IDENTIFIERS))


def _two(code: str, one: object, other: object) -> Evidence:
    return Evidence(code, values=(("one", one), ("other", other)))


def company(others: int) -> Iterator[Evidence]:
    """`others`: how many further items of the plan the resource holds under the same name."""
    if others:
        yield Evidence("same_company", min(others, _COMPANY) / _COMPANY)


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
def _years(title: str) -> str:
    return " ".join(number for number in numbers(fold(title)) if number.isdigit() and len(number) in (3, 4))


def _same_population(plan: Context, held: Context) -> bool:
    """Said alike, or, where the resource does not say whom it describes, named in its title."""
    wanted = fold(plan.population)
    if held.population or len(wanted) < 2:
        return bool(wanted) and wanted == fold(held.population)
    return wanted in fold(held.title)
