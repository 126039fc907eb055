"""Which of the planted copies of resources the audit finds."""

from __future__ import annotations

from dataclasses import dataclass

from bench.evaluation import generator
from catalog.collection.audit import audit
from catalog.collection.engines import duck
from catalog.collection.knowledge import Knowledge, stored_model
from catalog.collection.meaning import Encoder


@dataclass(frozen=True, slots=True)
class Found:
    """A planted copy, and whether its pair stands in the audit's list."""

    kind: str
    found: bool


def found(seed: int, encoder: Encoder | None) -> list[Found]:
    """Every planted copy of the test's world of this seed."""
    world = generator.world(seed, "test")
    named = _named(world, encoder)
    return [Found(copy.kind, frozenset({copy.resource, copy.original}) in named) for copy in world.copies]


def precision(seed: int, encoder: Encoder | None) -> tuple[int, int]:
    """How many pairs of resources the audit names, and how many of those are of one object class."""
    world = generator.world(seed, "test")
    subject = {p.resource_id: world.concept_of[f"{p.resource_id}/0"].subject for p in world.profiles}
    pairs = [tuple(pair) for pair in _named(world, encoder)]
    return len(pairs), sum(subject[one] == subject[other] for one, other in pairs)


def _named(world: generator.World, encoder: Encoder | None) -> set[frozenset[str]]:
    known = Knowledge(model=stored_model(embeddings=encoder is not None))
    with duck(1) as engine:
        heard = audit(world.profiles, engine, known, encoder=encoder)
    return {frozenset({pair.one.resource_id, pair.other.resource_id}) for pair in heard.resources}
