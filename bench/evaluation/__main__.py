"""`python -m bench.evaluation [fit]`: how often the duplicate check is right; `fit` computes the model anew."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from bench.evaluation import fitting, generator, outcome
from bench.measure import machine, show
from catalog.collection import knowledge
from catalog.collection.knowledge import MODEL, Model

FIT_SEEDS, BAND_SEEDS, TEST_SEEDS = (1, 2), (11, 12), (101, 102, 103, 104)
VERSION = "2026.2"
_PRECISION = 0.985  # of "reuse expected", where it is computed; it falls where the catalog is another
_REVIEW = 0.35  # what stands this high beside a reason against it is for people to look at
STORED = Path(knowledge.__file__).with_name("model.json")


def fit() -> None:
    """Weights from some seeds, bands from others; object classes of the test are in neither."""
    pairs = [
        (seen, same, 1.0)
        for seed in FIT_SEEDS
        for singly in (False, True)
        for answer in outcome.ask(generator.world(seed, "tune"), singly=singly)
        for _, seen, same in answer.seen
    ]
    weights = fitting.weights(fitting.labelled(pairs))
    plain = Model(VERSION, weights, 0.5, 0.5)
    answers = [a for seed in BAND_SEEDS for a in outcome.ask(generator.world(seed, "tune"))]
    decisions = outcome.decide(answers, plain)
    reuse = fitting.threshold([(d.score, d.right) for d in decisions], _PRECISION)
    stored = json.loads(STORED.read_text("utf-8"))
    stored["names"] = asdict(replace(plain, reuse_expected=round(max(reuse, 0.5), 4), review=_REVIEW))
    STORED.write_text(json.dumps(stored, ensure_ascii=False, indent=1) + "\n", "utf-8")
    print(stored["names"])


def synthetic() -> None:
    """The generated worlds of object classes that no weight has seen."""
    answers = [a for seed in TEST_SEEDS for a in outcome.ask(generator.world(seed, "test"))]
    decisions = outcome.decide(answers, MODEL)
    at = MODEL.reuse_expected
    rows: list[tuple[str, float, float, float]] = []
    for name in ("precision", "recall", "f1", "recall_at_99", "novel_flagged"):
        low, high = outcome.interval(decisions, partial(_figure, name), seed=1)
        rows.append((name, getattr(outcome.figures(decisions, at), name), low, high))
    held = [a for a in answers if a.question.answer is not None]
    for depth in (10, 50):
        rows.append(
            (
                f"candidates R@{depth}",
                sum(a.rank is not None and a.rank <= depth for a in held) / len(held),
                0,
                0,
            )
        )
    near = [d for d in decisions if d.question.answer is not None]
    rows.append(("source resource in the top 10", sum(d.near for d in near) / len(near), 0, 0))
    show(
        f"synthetic, seeds {TEST_SEEDS}, {len(decisions)} questions", ("", "figure", "95 % from", "to"), rows
    )
    kinds: list[tuple[str | float, ...]] = []
    for kind, found in outcome.by_kind(decisions).items():
        flagged = [d for d in found if d.score >= at]
        ranks = [a.rank for a in answers if a.question.kind == kind]
        kinds.append((
            kind, len(found), len(flagged) / len(found), sum(d.right for d in flagged) / len(found),
            *(sum(r is not None and r <= depth for r in ranks) / len(ranks) for depth in (10, 50)),
        ))  # fmt: skip
    show(
        "by kind",
        ("kind", "questions", "flagged", "rightly", "R@10", "R@50"),
        sorted(kinds, key=lambda row: str(row[0])),
    )


def _figure(name: str, decisions: Sequence[outcome.Decision]) -> float:
    return float(getattr(outcome.figures(decisions, MODEL.reuse_expected), name))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.evaluation", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("fit",))
    print(machine())
    started = time.perf_counter()
    if parser.parse_args().what == "fit":
        fit()
    else:
        synthetic()
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
