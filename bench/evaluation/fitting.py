"""Computes the model: weights by logistic regression with signs that may not flip, bands from precision.

Owns which contributions may only speak for a match and which only against it (monotone features).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.collection.scoring import NAME_EVIDENCE, Evidence

Rows = NDArray[np.float64]

FOR = [
    "same_type",
    "same_code_list",
    "both_identify",
    "same_population",
    "kindred_population",
    "same_topic",
    "generic_same_topic",
    "generic_same_population",
    "same_definition",
    "same_company",
    "very_similar_name",
    "similar_meaning",
    "same_meaning",
    "kindred",
    "generic_kindred",
    "nearest_here",
    "ruled_same",
    "shared_words",
    "identifying_number",
]
AGAINST = [
    "contrast",
    "other_number",
    "held_apart",
    "separated_in_catalog",
    "other_representation",
    "addition",
    "other_words",
    "another_nearer",
    "foreign",
    "another_planned",
    "one_word",
    "ambiguous_initials",
    "other_period",
    "other_group",
    "other_place",
    "other_part",
    "other_title",
    "same_agency",
    "other_type",
    "other_code_list",
    "other_population",
    "other_topic",
    "generic_elsewhere",
    "generic_addition",
    "unrelated",
    "generic_name",
    "meaningless_name",
    "ruled_different",
]
CODES = (*NAME_EVIDENCE, *FOR, *AGAINST)
# Set and not fitted: what people have ruled is no matter of likelihood, and of the rest the labelled data show
# too little.
_SET = {
    "ruled_different": -12.0, "ruled_same": 8.0, "identifying_number": 1.5, "meaningless_name": -12.0, "same_definition": 1.0, "same_code_list": 0.6,
    "other_code_list": -0.8, "both_identify": 0.2, "same_population": 0.5, "other_period": -2.0, "other_group": -3.0, "other_place": 0.0, "other_part": 0.0, "other_title": 0.0, "same_agency": 0.0,
}  # fmt: skip
_STEPS, _RATE, _PRIOR = 1500, 0.05, 2e-4


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pairs that people or a generator have judged."""

    rows: Rows
    same: NDArray[np.bool_]
    weight: Rows


def row(seen: Iterable[Evidence]) -> list[float]:
    """The evidence as numbers in the order of CODES."""
    shares = dict.fromkeys(CODES, 0.0)
    for found in seen:
        shares[found.code] = max(shares[found.code], found.share)
    return list(shares.values())


def labelled(pairs: Iterable[tuple[Iterable[Evidence], bool, float]]) -> Labelled:
    """Evidence, whether the two are the same, and how much the pair counts."""
    counted: dict[tuple[tuple[float, ...], bool], float] = defaultdict(float)
    for seen, same, weight in pairs:
        counted[tuple(round(share, 2) for share in row(seen)), same] += weight
    return Labelled(
        np.array([shares for shares, _ in counted]),
        np.array([same for _, same in counted]),
        np.array(list(counted.values())),
    )


def weights(data: Labelled) -> dict[str, float]:
    """Weights that make the judged pairs most likely (Adam on the log-loss, signs kept by projection)."""
    lowest = np.array([0.0 if code in FOR else -np.inf for code in CODES])
    highest = np.array([0.0 if code in AGAINST else np.inf for code in CODES])
    found = np.zeros(len(CODES))
    mean, square = np.zeros_like(found), np.zeros_like(found)
    scale = data.weight / data.weight.sum()
    for step in range(1, _STEPS + 1):
        likely = 1 / (1 + np.exp(-(data.rows @ found)))
        gradient = data.rows.T @ (scale * (likely - data.same)) + _PRIOR * found
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        found -= _RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        found = np.clip(found, lowest, highest)
    return {code: round(_SET.get(code, float(w)), 3) for code, w in zip(CODES, found, strict=True)}


def threshold(scores: Sequence[tuple[float, bool]], precision: float) -> float:
    """The lowest score from which on the decisions are right in `precision` of the cases."""
    right, best = 0, 1.0
    for number, (score, is_right) in enumerate(sorted(scores, reverse=True), 1):
        right += is_right
        if right / number >= precision:
            best = score
    return best


def strictest(scores: Sequence[tuple[float, bool]], kept: float) -> float:
    """The highest score from which on the share `kept` of the right decisions still stand."""
    right = sorted((score for score, is_right in scores if is_right), reverse=True)
    return right[max(round(len(right) * kept) - 1, 0)] if right else 1.0


def flagging(scores: Sequence[tuple[float, bool, bool]], novel: float) -> float:
    """The lowest score worth showing to people: that of the best F1 among those that flag no more than the share
    `novel` of what the catalog does not hold. Each decision is its score, whether it is right, whether it is held."""
    held = sum(is_held for *_, is_held in scores)
    absent = len(scores) - held
    right = wrong = 0
    best, at = 0.0, 1.0
    for number, (score, is_right, is_held) in enumerate(sorted(scores, reverse=True), 1):
        right += is_right
        wrong += not is_held
        f1 = 2 * right / (number + held)
        if f1 > best and wrong <= novel * absent:
            best, at = f1, score
    return at
