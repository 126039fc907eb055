"""Data of others, on which nothing was tuned: Wikidata's property names, Canada's reporting forms, judged pairs.

Owns how each is read. Where ../shared is absent it says so and measures nothing.
"""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

from bench.measure import show
from catalog.collection.matching import CatalogProfiles, PlanContext, PlannedItem
from catalog.collection.meaning import Encoder
from catalog.collection.profiles import CatalogIndex, ItemProfile

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
_FORMS = SHARED / "canada-collection-dictionary" / "fields.csv"
_PROPERTIES = SHARED / "wikidata-property-aliases" / "properties.jsonl"


def wikidata(encoder: Encoder | None) -> None:
    """Of each alias or Chinese label: whether its own property's English label is among the candidates."""
    if not _PROPERTIES.exists():
        print("\n../shared is absent: Wikidata's names were not asked")
        return
    lines = _PROPERTIES.read_text("utf-8").splitlines()
    properties = [json.loads(line) for line in lines]
    labels = [
        ItemProfile(
            id=p["id"], name=p["label"], resource_id="wikidata", resource_title="", agency_id="", agency_name=""
        )
        for p in properties
    ]  # fmt: skip
    questions = {
        "English alias": [(alias, p["label"]) for p in properties for alias in p["aliases"]],
        "Chinese label": [(label, p["label"]) for p in properties for label in p.get("labels_zh", ())],
    }
    rows: list[tuple[str | float, ...]] = []
    for with_encoder in (None, encoder) if encoder else (None,):
        profiles = CatalogProfiles(CatalogIndex(labels, with_encoder))
        for asked, pairs in questions.items():
            ranks = [_rank(profiles, question, label) for question, label in pairs]
            within = [sum(r is not None and r <= depth for r in ranks) / len(ranks) for depth in (1, 10, 50)]
            rows.append((f"{asked}, {'with' if with_encoder else 'without'} embeddings", len(pairs), *within))
    show("Wikidata: the property's English label", ("asked by", "questions", "R@1", "R@10", "R@50"), rows)


def _rank(profiles: CatalogProfiles, question: str, label: str) -> int | None:
    for rank, name in enumerate(profiles.ranked(question), 1):
        if any(held.name == label for held in profiles.index.all_of(name)):
            return rank
    return None


def forms() -> None:
    """Each name that several tables of Canada's forms ask for: asked for as a plan by one of them, the other
    tables' items must be shown, with the table that holds each as its context."""
    if not _FORMS.exists():
        print("\n../shared is absent: Canada's forms were not checked")
        return
    asked = found = right = 0
    tables, holders = canadian_forms()
    for table, held in tables.items():
        profiles = CatalogProfiles([p for other, rest in tables.items() if other != table for p in rest])
        plan = profiles.plan(
            [PlannedItem(name=p.name) for p in held], PlanContext(title=held[0].resource_title)
        )
        for item in held:
            elsewhere = holders[item.name] - {table}
            if elsewhere:
                asked += 1
                named = [
                    p
                    for p, seen in profiles.evidence(PlannedItem(name=item.name), plan)
                    if p.name == item.name
                ]
                found += bool(named)
                right += bool(named) and all(p.resource_id in elsewhere for p in named)
    several = sum(len(names) > 1 for names in holders.values())
    show(
        f"Canada's forms: {several} names in more than one table",
        ("", "figure"), [("asked (a name in a table)", asked), ("found elsewhere", found), ("in a right context", right)],
    )  # fmt: skip


def canadian_forms() -> tuple[dict[str, list[ItemProfile]], dict[str, set[str]]]:
    """The items of each table, and the tables of each name."""
    tables: dict[str, list[ItemProfile]] = defaultdict(list)
    holders: dict[str, set[str]] = defaultdict(set)
    with _FORMS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            table = row["table"]
            tables[table].append(
                ItemProfile(
                    id=f"{table}/{row['field']}", name=row["field"], resource_id=table, resource_title=row["table_title"],
                    agency_id=row["form"], agency_name=row["form_title"], definition=row["description_en"],
                    data_type=row["type"],
                )
            )  # fmt: skip
            holders[row["field"]].add(table)
    return tables, holders


def wilson(right: int, asked: int) -> tuple[float, float]:
    """95 % of a share (Wilson 1927)."""
    if not asked:
        return 0.0, 1.0
    z, share = 1.96, right / asked
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked**2)) / (1 + z * z / asked)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def judged() -> None:
    """The findings of Taoyuan's catalog that a reader judged one by one (taoyuan_judged.csv): how many are right, by
    the band of the model that was in force. An unsure verdict counts as wrong, below the threshold as missed."""
    text = files("bench.evaluation").joinpath("taoyuan_judged.csv").read_text("utf-8")
    verdicts: dict[str, list[str]] = defaultdict(list)
    for row in csv.DictReader(text.splitlines()):
        verdicts[row["band"]].append(row["verdict"])
    rows = [
        (
            band,
            len(said),
            said.count("same"),
            said.count("unsure"),
            said.count("same") / len(said),
            *wilson(said.count("same"), len(said)),
        )
        for band, said in verdicts.items()
    ]
    show(
        "Taoyuan, pairs of items of two agencies, judged by reading", ("band", "judged", "same", "unsure", "share", "95 % from", "to"), rows,
        "audit: all of its reuse_expected, and as many of the others as drawn; filed: every resource of every agency asked as a"
        " plan of names and title alone, all its reuse_expected; model 2026.3, and filed by names and holdings alone:"
        " before titles counted",
    )  # fmt: skip
