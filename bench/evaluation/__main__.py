"""`python -m bench.evaluation [fit]`: how often the duplicate check is right; `fit` computes the model anew."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.evaluation import copies, fitting, generator, others, outcome
from bench.measure import machine, show
from catalog.collection import knowledge
from catalog.collection.knowledge import Model, stored_model
from catalog.collection.meaning import Encoder, SentenceEncoder, available

FIT_SEEDS, BAND_SEEDS, TEST_SEEDS = (1, 2), (11, 12), tuple(range(101, 109))
VERSION = "2026.5"
_ROUNDS = 3  # of fitting: each counts most what the one before decided by
_PRECISION = 0.99  # of "reuse expected", where it is computed; it falls where the catalog is another
_KEPT = 0.98  # of what is rightly expected: a real catalog is harder, so the threshold is as strict as costs little
_NOVEL = 0.03  # of what the catalog does not hold may be shown to people
STORED = Path(knowledge.__file__).with_name("model.json")
Row = tuple[str, float, float, float]
T = TypeVar("T")


def fit(encoder: Encoder | None) -> None:
    """Weights from some seeds, bands from others; object classes of the test are in neither."""
    labelled = [
        answer
        for seed in FIT_SEEDS
        for singly in (False, True)
        for answer in outcome.ask(generator.world(seed, "tune"), singly=singly, encoder=encoder)
    ]
    plain: Model | None = None
    for _ in range(_ROUNDS):
        weights = fitting.weights(fitting.labelled(outcome.pairs(labelled, plain)))
        plain = Model(VERSION + ("e" if encoder else ""), weights, 0.5, 0.5)
    assert plain is not None
    answers = [a for seed in BAND_SEEDS for a in outcome.ask(generator.world(seed, "tune"), encoder=encoder)]
    decisions = outcome.decide(answers, plain)
    clear = [(d.score, d.right) for d in decisions if d.clear]
    reuse = max(fitting.threshold(clear, _PRECISION), fitting.strictest(clear, _KEPT))
    review = fitting.flagging([(d.score, d.right, d.question.answer is not None) for d in decisions], _NOVEL)
    fitted = replace(plain, reuse_expected=round(max(reuse, review), 4), review=round(review, 4))
    stored = json.loads(STORED.read_text("utf-8"))
    stored["embeddings" if encoder else "names"] = asdict(fitted)
    STORED.write_text(json.dumps(stored, ensure_ascii=False, indent=1) + "\n", "utf-8")
    print(fitted)


def synthetic(encoder: Encoder | None) -> None:
    """The generated worlds of object classes that no weight has seen."""
    model = stored_model(embeddings=encoder is not None)
    answers = [a for seed in TEST_SEEDS for a in outcome.ask(generator.world(seed, "test"), encoder=encoder)]
    decisions = outcome.decide(answers, model)
    rows = [
        _row(name, decisions, partial(_figure, name, model.review))
        for name in ("precision", "recall", "f1", "recall_at_99", "novel_flagged")
    ]
    sure = [d for d in decisions if d.clear and d.score >= model.reuse_expected]
    rows.append(_row("precision of 'reuse expected'", sure, _share(lambda d: d.right)))
    held = [a for a in answers if a.question.answer is not None]
    for depth in (10, 50):
        rows.append(_row(f"candidates R@{depth}", held, _share(partial(_found, depth))))
    near = [d for d in decisions if d.question.answer is not None]
    rows.append(_row("source resource in the top 10", near, _share(lambda d: d.near)))
    show(
        f"synthetic, {'with' if encoder else 'without'} embeddings, seeds {TEST_SEEDS}, {len(decisions)} questions",
        ("", "figure", "95 % from", "to"), rows,
    )  # fmt: skip
    kinds: list[tuple[str | float, ...]] = []
    for kind, found in sorted(outcome.by_kind(decisions).items()):
        asked = [a for a in answers if a.question.kind == kind]
        flagged = _row(kind, found, _share(lambda d: d.score >= model.review))
        rightly = sum(d.right and d.score >= model.review for d in found) / len(found)
        kinds.append(
            (kind, len(found), *flagged[1:], rightly, *(_share(partial(_found, n))(asked) for n in (10, 50)))
        )
    show("by kind", ("kind", "questions", "flagged", "95 % from", "to", "rightly", "R@10", "R@50"), kinds)


def planted(encoder: Encoder | None) -> None:
    """Copies of resources that the audit finds, by kind."""
    found = [one for seed in TEST_SEEDS for one in copies.found(seed, encoder)]
    rows = [
        _row(kind, [f for f in found if f.kind == kind], _share(lambda f: f.found))
        for kind in ("renamed", "subset")
    ]
    pairs, right = (
        sum(counts) for counts in zip(*(copies.precision(seed, encoder) for seed in TEST_SEEDS), strict=True)
    )
    show(
        f"planted copies found by the audit {'with' if encoder else 'without'} embeddings, seeds {TEST_SEEDS}", ("", "figure", "95 % from", "to"), rows,
        f"of {pairs} pairs of resources that it names, {right} are of one object class",
    )  # fmt: skip


def _share(is_so: Callable[[T], bool]) -> Callable[[Sequence[T]], float]:
    return lambda sample: sum(map(is_so, sample)) / (len(sample) or 1)


def _found(depth: int, answer: outcome.Answer) -> bool:
    return answer.rank is not None and answer.rank <= depth


def _figure(name: str, threshold: float, decisions: Sequence[outcome.Decision]) -> float:
    return float(getattr(outcome.figures(decisions, threshold), name))


def _row(name: str, sample: Sequence[T], figure: Callable[[Sequence[T]], float]) -> Row:
    return (name, figure(sample), *outcome.interval(sample, figure, seed=1))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.evaluation", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("fit",))
    print(machine())
    started = time.perf_counter()
    encoders = [None, SentenceEncoder()] if available() else [None]
    wanted = parser.parse_args().what
    for encoder in encoders:
        (fit if wanted else synthetic)(encoder)
    if len(encoders) == 1:
        print("\nembeddings are not installed: pip install 'zhengtong[embeddings]'")
    if not wanted:
        for encoder in encoders:
            planted(encoder)
        others.wikidata(encoders[-1])
        others.forms()
        others.judged()
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
