"""docs/asvs.md leaves no requirement out, and what it links to exists."""

from __future__ import annotations

import csv
import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "asvs.md").read_text("utf-8")
ROWS = re.findall(r"^\| (V[\d.]+) \| (met|n/a|open) \| (.+) \|$", TEXT, re.M)
TARGETS = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", TEXT, re.M))


def test_every_requirement_of_levels_1_and_2_has_its_row(shared_data: Path) -> None:
    with (shared_data / "asvs-5.0" / "asvs-5.0.0.csv").open(encoding="utf-8-sig") as file:
        wanted = [row["req_id"] for row in csv.DictReader(file) if row["L"] in ("1", "2")]
    assert [number for number, _, _ in ROWS] == wanted


def test_what_is_met_is_shown_by_something_that_exists() -> None:
    for number, state, how in ROWS:
        shown = re.search(r"\[([^\]]+)\]$", how)
        assert (shown is not None) == (state == "met"), number
        assert shown is None or (DOCS / TARGETS[shown[1]]).is_file(), number
    assert set(TARGETS) == {found for _, _, how in ROWS for found in re.findall(r"\[([^\]]+)\]$", how)}
