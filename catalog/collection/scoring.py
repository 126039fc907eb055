"""How likely two items mean the same, as contributions that add up, each said in words.

Pure. Owns the features and their sentences; the weights stand in `knowledge.Model`. What separates two names
in some resource of the catalog (CannotLink) separates them elsewhere too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.kernel.text import Text
from catalog.collection.knowledge import GENERIC, MEANINGLESS, Knowledge
from catalog.collection.normalise import (
    contrast,
    difference,
    name_key,
    numbers,
    population_kinds,
    representation,
    topic,
    type_class,
)
from catalog.text import fold, initials

_MINED_NAMES = 150  # names of one resource that are compared pairwise
_MINED_LENGTH = 6  # characters a substitution may have
_MINED_SHARED = 2  # characters the two names must share

_SENTENCES = {
    "same_name": Text("名称相同（{name}）", "same name ({name})"),
    "alias": Text(
        "“{one}”与“{other}”是同一数据元的不同叫法",
        "“{one}” and “{other}” are names of one data element",
    ),
    "initials": Text("“{one}”是“{other}”的拼音首字母", "“{one}” are the pinyin initials of “{other}”"),
    "similar_name": Text("名称相近（{share}%）", "similar names ({share}%)"),
    "specific_name": Text("名称含义明确", "the name is specific"),
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
    """One contribution to a score; the weights of a match add up to its score before it is cut to 0-1."""

    code: str
    text: Text
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two items compared: the planned one with its plan, or the existing one with its resource."""

    name: str
    definition: str = ""
    data_type: str = ""
    code_list: str = ""
    is_identifier: bool = False
    population: str = ""
    title: str = ""

    @property
    def about(self) -> frozenset[str]:
        """Tokens of what the item is asked about."""
        return topic(f"{self.title} {self.population}")


@dataclass
class CannotLink:
    """Substitutions that tell items of one resource apart, with the number of resources that show each."""

    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)

    def learn(self, keys: Iterable[str]) -> None:
        """Count what separates similar names of one resource: 男/女, 上/本, or an addition (代码)."""
        names = sorted(set(keys))[:_MINED_NAMES]
        found: set[tuple[str, str]] = set()
        for position, one in enumerate(names):
            for other in names[position + 1 :]:
                if one[0] != other[0] and one[-1] != other[-1]:
                    continue
                cut = difference(one, other)
                if cut.shared >= _MINED_SHARED and len(cut.right) <= _MINED_LENGTH:
                    found.add(cut.pair)
        self.pairs.update(found)


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
    rarity: Mapping[str, float]  # weight of a topic token; a token never seen weighs `unseen`
    unseen: float

    def reasons(self, planned: Side, existing: Side, similarity: float) -> tuple[Reason, ...]:
        """Every contribution, heaviest first. `similarity` of the names is 0-1 (TF-IDF cosine)."""
        found = [
            *self._of_names(planned, existing, similarity),
            *self._of_values(planned, existing),
        ]
        found += self._of_context(planned, existing)
        return tuple(sorted(found, key=lambda reason: -abs(reason.weight)))

    def _reason(self, code: str, share: float = 1.0, **values: object) -> Reason:
        shown = {name: value or _EMPTY for name, value in values.items()}
        sentence = _SENTENCES[code].with_(share=round(share * 100), **shown)
        return Reason(code, sentence, round(self.knowledge.model.weights[code] * share, 4))

    def _of_names(self, planned: Side, existing: Side, similarity: float) -> Iterator[Reason]:
        one, other = name_key(planned.name), name_key(existing.name)
        known = self.aliases.of(one)
        if one == other:
            yield self._reason("same_name", name=existing.name)
        elif other in known:
            yield self._reason("alias", one=planned.name, other=existing.name)
        elif one == initials(other) or other == initials(one):
            code, name = (
                (planned.name, existing.name) if one == initials(other) else (existing.name, planned.name)
            )
            yield self._reason("initials", one=code, other=name)
        else:
            yield self._reason("similar_name", similarity)
            yield from self._separations(one, other)
        if frozenset({one, other}) in self.knowledge.different:
            yield self._reason("ruled_different")
        if one in MEANINGLESS or other in MEANINGLESS:
            yield self._reason("meaningless_name")
        elif not GENERIC.isdisjoint(known | {other}):
            yield self._reason("generic_name")
        else:
            yield self._reason("specific_name")

    def _separations(self, one: str, other: str) -> Iterator[Reason]:
        """Why two similar names are different elements: one reason only, as they are not independent."""
        cut = difference(one, other)
        opposed = contrast(one, other)
        seen = self.cannot_link.pairs[cut.pair] if cut.shared >= _MINED_SHARED else 0
        kinds = representation(one), representation(other)
        if opposed:
            yield self._reason("contrast", one=opposed[0], other=opposed[1])
        elif numbers(one) != numbers(other):
            values = (" ".join(numbers(key)) for key in (one, other))
            yield self._reason("other_number", one=next(values), other=next(values))
        elif seen:
            yield self._reason("separated_in_catalog", count=seen, one=cut.left, other=cut.right)
        elif all(kinds) and kinds[0] != kinds[1]:
            yield self._reason("other_representation", one=kinds[0], other=kinds[1])
        elif cut.one_sided:
            yield self._reason("addition", other=cut.right)

    def _of_values(self, planned: Side, existing: Side) -> Iterator[Reason]:
        types = type_class(planned.data_type), type_class(existing.data_type)
        if all(types):
            code = "same_type" if types[0] == types[1] else "other_type"
            yield self._reason(code, one=planned.data_type, other=existing.data_type)
        lists = fold(planned.code_list), fold(existing.code_list)
        if all(lists):
            code = "same_code_list" if lists[0] == lists[1] else "other_code_list"
            yield self._reason(code, one=planned.code_list, other=existing.code_list)
        if planned.is_identifier and existing.is_identifier:
            yield self._reason("both_identify")
        if planned.definition and existing.definition:
            share = self.overlap(topic(planned.definition), topic(existing.definition))
            if share > 0:
                yield self._reason("same_definition", share)

    def _of_context(self, planned: Side, existing: Side) -> Iterator[Reason]:
        share = self.overlap(planned.about, existing.about)
        if share > 0:
            yield self._reason("same_topic", share)
        theirs = existing.population or existing.title
        kinds = (
            population_kinds(planned.population or planned.title),
            population_kinds(theirs),
        )
        if _same_population(planned, existing):
            yield self._reason("same_population", one=planned.population)
        elif kinds[0] & kinds[1]:
            yield self._reason("kindred_population")
        elif all(kinds):
            yield self._reason(
                "other_population",
                one=planned.population or planned.title,
                other=theirs,
            )

    def overlap(self, one: frozenset[str], other: frozenset[str]) -> float:
        """Cosine of two token sets, 0-1, in which words that every title has weigh little."""
        weights = [sum(self.rarity.get(t, self.unseen) ** 2 for t in tokens) for tokens in (one, other)]
        if not all(weights):
            return 0.0
        common = sum(self.rarity.get(token, self.unseen) ** 2 for token in one & other)
        return float(common / (weights[0] * weights[1]) ** 0.5)


def _same_population(planned: Side, existing: Side) -> bool:
    """Said alike, or, where the resource does not say whom it describes, named in its title."""
    wanted = fold(planned.population)
    if existing.population or len(wanted) < 2:
        return bool(wanted) and wanted == fold(existing.population)
    return wanted in fold(existing.title)
