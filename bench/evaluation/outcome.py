"""What a model makes of a world's questions: candidates, decisions, and the figures made of them.

Owns which candidate counts as the decision: the best that nothing separates, as the product bands it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from bench.evaluation.generator import Question, World
from catalog.collection.knowledge import DIFFERENT, SEPARATIONS, Model
from catalog.collection.matching import CatalogProfiles
from catalog.collection.meaning import Encoder
from catalog.collection.profiles import CatalogIndex, ItemProfile
from catalog.collection.scoring import Evidence

_DECISIVE = 50.0
T = TypeVar("T")
Seen = tuple[ItemProfile, tuple[Evidence, ...], bool]  # a candidate, what is seen, whether it is the same


@dataclass(frozen=True, slots=True)
class Answer:
    """A question with every candidate that was compared."""

    question: Question
    seen: tuple[Seen, ...]
    rank: int | None  # of the right name among all candidates by likeness, from 1; None if it is none


@dataclass(frozen=True, slots=True)
class Decision:
    """The best candidate that nothing makes another element; `right` when it is the concept asked for."""

    question: Question
    score: float
    right: bool
    clear: bool  # nothing leaves it to people: from the model's threshold on its reuse is expected
    near: bool  # the source resource is among the ten best


def ask(world: World, *, singly: bool = False, encoder: Encoder | None = None) -> list[Answer]:
    """Every item of every plan, with its plan as on filing, or by itself as while typing."""
    profiles = CatalogProfiles(CatalogIndex(world.profiles, encoder))
    answers = []
    for context, questions in world.plans:
        whole = None if singly else profiles.plan([q.item for q in questions], context)
        for question in questions:
            plan = whole or profiles.plan([question.item], context)
            seen = tuple(
                (profile, tuple(found), _same(world, profile, question))
                for profile, found in profiles.evidence(question.item, plan)
            )
            answers.append(Answer(question, seen, _rank(world, profiles, question, plan.near)))
    return answers


def _same(world: World, profile: ItemProfile, question: Question) -> bool:
    concept, answer = world.concept_of[profile.id], question.answer
    return answer is not None and (concept.subject, concept.name) == (answer.subject, answer.name)


def _rank(world: World, profiles: CatalogProfiles, question: Question, near: Sequence[int]) -> int | None:
    """By likeness alone: the same element first, then by n-grams. Names, not profiles, are counted."""
    found = profiles.ranked(question.item.name, near)
    index = profiles.index
    for rank, name in enumerate(found, 1):
        if any(_same(world, p, question) for p in index.all_of(name)):
            return rank
    return None


def pairs(
    answers: Iterable[Answer], model: Model | None = None
) -> Iterator[tuple[Iterable[Evidence], bool, float]]:
    """Every comparison with its truth and how much it counts: those that a model decides by count most, as many
    more are told apart at a glance."""
    for answer in answers:
        decisive = _decisive(answer, model) if model else frozenset()
        for position, (_, seen, same) in enumerate(answer.seen):
            yield seen, same, _DECISIVE if position in decisive else 1.0


def _decisive(answer: Answer, model: Model) -> frozenset[int]:
    """The best right and the best wrong comparison of a question."""
    best: dict[bool, tuple[float, int]] = {}
    for position, (_, seen, same) in enumerate(answer.seen):
        if DIFFERENT.isdisjoint(e.code for e in seen):
            best[same] = max(best.get(same, (-1.0, 0)), (scored(model, seen), -position))
    return frozenset(-position for _, position in best.values())


def decide(answers: Iterable[Answer], model: Model) -> list[Decision]:
    """What the product would say of each."""
    decisions = []
    for answer in answers:
        codes = [frozenset(e.code for e in seen) for _, seen, _ in answer.seen]
        best = sorted(
            (
                (SEPARATIONS.isdisjoint(said), scored(model, seen), right, profile.resource_id)
                for said, (profile, seen, right) in zip(codes, answer.seen, strict=True)
                if DIFFERENT.isdisjoint(said)
            ),
            key=lambda found: (not (found[0] and found[1] >= model.reuse_expected), -found[1]),
        )
        clear, score, right, _ = best[0] if best else (False, 0.0, False, "")
        resources = list(dict.fromkeys(found[3] for found in best))[:10]
        decisions.append(Decision(answer.question, score, right, clear, answer.question.source in resources))
    return decisions


def scored(model: Model, seen: Iterable[Evidence]) -> float:
    return model.score(sum(model.weights.get(e.code, 0.0) * e.share for e in seen))


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a set of decisions at one threshold."""

    precision: float
    recall: float
    f1: float
    recall_at_99: float
    novel_flagged: float


def figures(decisions: Sequence[Decision], threshold: float) -> Figures:
    held = sum(d.question.answer is not None for d in decisions) or 1
    absent = [d for d in decisions if d.question.answer is None]
    flagged = [d for d in decisions if d.score >= threshold]
    right = sum(d.right for d in flagged)
    precision, recall = right / (len(flagged) or 1), right / held
    best = correct = 0
    for count, decision in enumerate(sorted(decisions, key=lambda d: -d.score), 1):
        correct += decision.right
        if correct / count >= 0.99:
            best = correct
    f1 = 2 * precision * recall / (precision + recall or 1)
    return Figures(
        precision, recall, f1, best / held, sum(d.score >= threshold for d in absent) / (len(absent) or 1)
    )


def by_kind(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    found: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        found[decision.question.kind].append(decision)
    return found


def interval(samples: Sequence[T], figure: Callable[[Sequence[T]], float], seed: int) -> tuple[float, float]:
    """95 % by bootstrap over the samples."""
    if not samples:
        return 0.0, 1.0
    random = Random(seed)
    drawn = sorted(figure(random.choices(samples, k=len(samples))) for _ in range(300))
    return drawn[7], drawn[292]
