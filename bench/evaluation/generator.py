"""A catalog and collection plans with known answers, full of statistical siblings; the same for the same seed.

Owns what counts as the same: one property of one object class. Written apart from the product's lists of
aliases and contrasts: it reads none of them. Everything here is synthetic.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.resources import files
from random import Random
from typing import Literal

from opencc import OpenCC
from pypinyin import Style, lazy_pinyin

from catalog.collection.matching import PlanContext, PlannedItem
from catalog.collection.profiles import ItemProfile

Part = Literal["tune", "test"]
# How often each kind is asked: so that equal names alone find about as much as they did in earlier trials (0.74).
POSITIVE = {
    "exact": 34, "reordered": 12, "synonym": 18, "abbreviation": 8, "traditional": 9, "type differs": 10,
    "unseen alias": 9,
}  # fmt: skip
NEGATIVE = ("hard negative", "novel")

_PLACES = tuple(a + b + "区" for a in "临东云清安长永平" for b in "江湖山溪阳宁泉")
_TASKS = ("专项调查", "情况摸底", "信息采集", "年度普查", "台账建设", "抽样调查")
_TRADITIONAL = OpenCC("s2t")
_SIBLINGS = re.compile(r"\{([^/}]*)/([^}]*)\}")
# The number by which a person or thing is known is one element wherever it is asked.
_IDENTIFYING = {
    "公民身份号码", "统一社会信用代码", "学籍号", "号牌号码", "不动产权证号", "不动产单元号", "残疾证号",
}  # fmt: skip
_OTHER_TYPE = {"C": "N", "N": "C", "D": "C"}


@dataclass(frozen=True, slots=True)
class Concept:
    """One property of one object class: what an item means. `unseen` never stands in the catalog."""

    subject: str
    name: str
    aliases: tuple[str, ...]
    unseen: tuple[str, ...]
    data_type: str
    sibling_of: str | None  # the other of a pair that differs in one word


@dataclass(frozen=True, slots=True)
class Subject:
    """An object class with its names, the matters its resources are about, and its properties."""

    part: str
    names: tuple[str, ...]
    matters: tuple[str, ...]
    concepts: tuple[Concept, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A planned item with its answer: the concept the catalog holds, or None."""

    item: PlannedItem
    kind: str
    answer: Concept | None
    source: str | None  # a resource of the concept with the widest coverage, its authoritative source


@dataclass(frozen=True, slots=True)
class Copy:
    """A planted resource that repeats another: all of it under other names, or a part of it."""

    kind: Literal["renamed", "subset"]
    resource: str
    original: str


@dataclass(slots=True)
class World:
    """Catalog, plans and copies of one seed. `concept_of` gives the meaning of a profile by its id."""

    profiles: list[ItemProfile] = field(default_factory=list)
    concept_of: dict[str, Concept] = field(default_factory=dict)
    plans: list[tuple[PlanContext, list[Question]]] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)


def subjects() -> list[Subject]:
    """The object classes of words.txt."""
    found = []
    for paragraph in files("bench.evaluation").joinpath("words.txt").read_text("utf-8").split("\n\n"):
        head, *lines = (line for line in paragraph.strip().splitlines() if not line.startswith("#"))
        part, names, matters = (piece.split() for piece in head.split(" : "))
        concepts = [concept for line in lines for concept in _concepts(names[0], line)]
        found.append(Subject(part[0], tuple(names), tuple(matters), tuple(concepts)))
    return found


def _concepts(subject: str, line: str) -> list[Concept]:
    words, data_type = line.rsplit(" : ", 1)
    usual, rest = words.split(" = ")
    seen, unseen = rest.split(" > ")
    if not _SIBLINGS.search(usual):
        return [Concept(subject, usual, tuple(seen.split()), tuple(unseen.split()), data_type, None)]
    sides = [_SIBLINGS.sub(rf"\{side}", usual) for side in (1, 2)]
    return [
        Concept(
            subject, sides[n], tuple(_SIBLINGS.sub(rf"\{n + 1}", seen).split()),
            tuple(_SIBLINGS.sub(rf"\{n + 1}", unseen).split()), data_type, sides[1 - n],
        )
        for n in (0, 1)
    ]  # fmt: skip


def world(seed: int, part: Part, *, resources: int = 240, plans: int = 24, copies: int = 30) -> World:
    """Every object class is in the catalog; plans and copies are only about those of the wanted part."""
    return _Making(Random(f"{seed} {part}"), part).make(resources, plans, copies)


class _Making:
    def __init__(self, random: Random, part: Part) -> None:
        self.random, self.part, self.world = random, part, World()
        known = subjects()
        self.common = known[-1].concepts
        self.subjects = known[:-1]
        self.withheld: dict[str, set[str]] = {}
        self.holders: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.sizes: dict[str, int] = {}

    def make(self, resources: int, plans: int, copies: int) -> World:
        for subject in self.subjects:  # one of some pairs, and some others, are held by nobody
            concepts = self.random.sample(subject.concepts, len(subject.concepts))
            withheld: set[str] = set()
            for concept in concepts:
                if len(withheld) < len(concepts) * 0.3 and concept.sibling_of not in withheld:
                    withheld.add(concept.name)
            self.withheld[subject.names[0]] = withheld
        for number in range(resources):
            self._resource(self.subjects[number % len(self.subjects)], f"r{number:04d}")
        asked = [subject for subject in self.subjects if subject.part == self.part]
        self._copies(asked, copies)
        for number in range(plans):
            self._plan(asked[number % len(asked)])
        return self.world

    def _resource(self, subject: Subject, resource: str) -> None:
        held = [c for c in subject.concepts if c.name not in self.withheld[subject.names[0]]]
        chosen = self.random.sample(held, min(len(held), self.random.randint(5, 10)))
        # What everybody is asked means another thing of every object class.
        asked = self._commons(subject)
        commons = self.random.sample(asked, min(len(asked), self.random.randint(2, 5)))
        title = (
            f"{self.random.choice(_PLACES)}{self._spoken(subject)}{self.random.choice(subject.matters)}信息"
        )
        self._add(subject, resource, title, [*chosen, *commons], aliased=0.25)

    def _commons(self, subject: Subject) -> list[Concept]:
        """What everybody is asked, as the object class means it, unless it has a property of its own for it."""
        own = "\n".join(word for c in subject.concepts for word in (c.name, *c.aliases, *c.unseen)) + "\n"
        return [self._of(subject, c) for c in self.common if f"{c.name}\n" not in own]

    @staticmethod
    def _of(subject: Subject, common: Concept) -> Concept:
        whose = "自然人" if common.name in _IDENTIFYING else subject.names[0]
        return Concept(whose, common.name, common.aliases, common.unseen, common.data_type, None)

    def _spoken(self, subject: Subject) -> str:
        return self.random.choices(subject.names, weights=[3, *[1] * (len(subject.names) - 1)])[0]

    def _add(
        self, subject: Subject, resource: str, title: str, concepts: list[Concept], *, aliased: float
    ) -> None:
        agency = f"{title[:3]}第{self.random.randrange(40)}局"
        population = self._spoken(subject) if self.random.random() < 0.4 else ""
        for position, concept in enumerate(concepts):
            name = self.random.choice(concept.aliases) if self.random.random() < aliased else concept.name
            profile = ItemProfile(
                id=f"{resource}/{position}", name=self._written(subject, name), resource_id=resource,
                resource_title=title, agency_id=agency, agency_name=agency, population=population,
                data_type=concept.data_type if self.random.random() < 0.8 else "", sharing_type="conditional",
            )  # fmt: skip
            self.world.profiles.append(profile)
            self.world.concept_of[profile.id] = concept
            self.holders[concept.subject, concept.name].append(resource)
        self.sizes[resource] = len(concepts)

    def _written(self, subject: Subject, name: str) -> str:
        """Now and then with the object class before it, or a remark in brackets."""
        drawn = self.random.random()
        if drawn < 0.06 and subject.names[0] not in name:
            return subject.names[0] + name
        return f"{name}（{self.random.choice(('必填', '元', '参见说明'))}）" if drawn < 0.10 else name

    def _copies(self, asked: list[Subject], count: int) -> None:
        originals = [r for r in self.sizes if self._subject(r) in asked]
        for number, original in enumerate(self.random.sample(originals, min(count, len(originals)))):
            held = [p for p in self.world.profiles if p.resource_id == original]
            concepts = [self.world.concept_of[p.id] for p in held]
            subject, copy = self._subject(original), f"c{number:04d}"
            kind: Literal["renamed", "subset"] = "subset" if number % 2 else "renamed"
            if kind == "subset":
                concepts = self.random.sample(concepts, max(4, len(concepts) // 2))
            title = f"{self.random.choice(_PLACES)}{self._spoken(subject)}{self.random.choice(('台账', '名册', '数据表'))}"
            self._add(subject, copy, title, concepts, aliased=1.0 if kind == "renamed" else 0.4)
            self.world.copies.append(Copy(kind, copy, original))

    def _subject(self, resource: str) -> Subject:
        concept = self.world.concept_of[f"{resource}/0"]
        return next(subject for subject in self.subjects if subject.names[0] == concept.subject)

    def _plan(self, subject: Subject) -> None:
        spoken = self._spoken(subject)
        plan = PlanContext(
            title=f"{self.random.choice(_PLACES)}{spoken}{self.random.choice(_TASKS)}",
            population=f"辖区{self._spoken(subject)}" if self.random.random() < 0.7 else "",
        )
        held = [c for c in subject.concepts if self.holders[c.subject, c.name]]
        commons = [
            c
            for c in self._commons(subject)
            if self.holders[c.subject, c.name] and c.name not in ("备注", "状态")
        ]
        questions = [
            self._question(concept, self.random.choices(list(POSITIVE), weights=list(POSITIVE.values()))[0])
            for concept in self.random.sample([*held, *commons], min(20, len(held) + len(commons)))
        ]
        absent = [c for c in subject.concepts if not self.holders[c.subject, c.name]]
        for concept in self.random.sample(absent, min(len(absent), 8)):
            hard = concept.sibling_of in {c.name for c in held}
            spelt = self.random.choice((concept.name, *concept.aliases))
            questions.append(
                Question(
                    self._planned(spelt, concept.data_type), "hard negative" if hard else "novel", None, None
                )
            )
        for concept in self._elsewhere(subject, 4):
            questions.append(Question(self._planned(concept.name, concept.data_type), "novel", None, None))
        self.world.plans.append((plan, questions))

    def _elsewhere(self, subject: Subject, count: int) -> list[Concept]:
        """Properties that only another object class has: held by nobody of this one."""
        others = [
            c for other in self.subjects if other is not subject for c in other.concepts
            if c.name not in _IDENTIFYING
        ]  # fmt: skip
        return self.random.sample(others, count)

    def _question(self, concept: Concept, kind: str) -> Question:
        name, data_type = concept.name, concept.data_type
        match kind:
            case "reordered":
                name = self._reordered(concept)
            case "synonym":
                name = self.random.choice(concept.aliases)
            case "abbreviation":
                name = "".join(lazy_pinyin(name, style=Style.FIRST_LETTER)).upper()
            case "traditional":
                name = _TRADITIONAL.convert(name)
            case "type differs":
                data_type = _OTHER_TYPE[data_type]
            case "unseen alias":
                name = self.random.choice(concept.unseen)
        source = max(set(self.holders[concept.subject, concept.name]), key=lambda r: (self.sizes[r], r))
        return Question(self._planned(name, data_type), kind, concept, source)

    def _reordered(self, concept: Concept) -> str:
        """With 的 between its halves, the object class before it, or a bracket behind."""
        name = concept.name
        if len(name) >= 4:
            return self.random.choice(
                (f"{name[:-2]}的{name[-2:]}", f"{concept.subject}{name}", f"{name}（必填）")
            )
        return f"{concept.subject}{name}"

    def _planned(self, name: str, data_type: str) -> PlannedItem:
        return PlannedItem(name=name, data_type=data_type if self.random.random() < 0.8 else "")
