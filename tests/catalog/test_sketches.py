"""Keyed sketches of identifier columns: how well the overlap is estimated, who sees it, what is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.kernel.actor import Role
from catalog.collection.overlap import key_mark, overlap, sketch
from tests.catalog.bureau import CATALOG, CLERK, Bureau, Json

KEY, OTHER_KEY = b"only the two of us know", b"somebody else's secret"


def body(values: list[str], key: bytes = KEY) -> Json:
    made = base64.b64encode(sketch(values, key)).decode()
    return {"label": "低保家庭 公民身份号码", "key_mark": key_mark(key), "sketch": made}


def test_the_overlap_lies_within_its_bounds() -> None:
    one = sketch((f"33010{n:013}" for n in range(30_000)), KEY)
    other = sketch((f" 33010{n:013} " for n in range(18_000, 60_000)), KEY)
    found = overlap(one, other)
    assert found.common.low <= 12_000 <= found.common.high
    assert found.common.number == pytest.approx(12_000, rel=0.08)
    assert found.share_one == pytest.approx(0.4, abs=0.03) and len(one) < 40_000


def test_one_spelling_counts_once_and_another_key_finds_nothing() -> None:
    assert overlap(sketch(["１１０１０１x", "110101X", ""], KEY), sketch(["110101X"], KEY)).common.number == 1
    assert overlap(sketch(["110101X"], KEY), sketch(["110101X"], OTHER_KEY)).common.number == 0
    with pytest.raises(ValueError, match="16"):
        key_mark(b"short")


@pytest.mark.parametrize("content", [b"", b"abc", sketch(["1", "2"], KEY)[:20], bytes(100), bytes(50_000)])
def test_what_is_no_sketch_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        overlap(content, sketch(["1"], KEY))


def test_two_agencies_with_one_key_see_their_overlap_and_nobody_else_does(bureau: Bureau) -> None:
    people = [str(n) for n in range(1_000)]
    own = bureau.call("POST", "/sketches", "civil", CLERK, body=body(people), expect=201)
    assert own["identifiers"] == 1_000 and "sketch" not in own
    bureau.call("POST", "/sketches", "health", CLERK, body=body(people[600:]), expect=201)
    bureau.call("POST", "/sketches", "market", CLERK, body=body(people, OTHER_KEY), expect=201)
    (found,) = bureau.call("GET", f"/sketches/{own['id']}/overlaps", "civil", CLERK)
    assert found["other"]["agency"]["id"] == str(bureau.town.id("health"))
    assert (found["common"], found["share"]) == ({"number": 400, "low": 400, "high": 400}, 0.4)
    assert found["share_of_other"] == 1
    assert len(bureau.call("GET", "/sketches", "health", CLERK)["items"]) == 2
    assert len(bureau.call("GET", "/sketches", "market", CLERK)["items"]) == 1
    bureau.call("GET", f"/sketches/{own['id']}/overlaps", "market", CLERK, expect=404)
    assert len(bureau.call("GET", "/sketches", "city_authority", CATALOG)["items"]) == 3


def test_a_sketch_that_cannot_be_read_is_refused_by_field(bureau: Bureau) -> None:
    for sketched in (base64.b64encode(b"nothing").decode(), "=", "\u0093"):
        broken = {**body(["1"]), "sketch": sketched}
        answer = bureau.call("POST", "/sketches", "civil", CLERK, body=broken, expect=422)
        assert answer["errors"][0]["field"] == "/sketch"
    bureau.call("POST", "/sketches", "civil", Role.APPROVER, body=body(["1"]), expect=403)


def test_the_commands(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    for name, numbers in (("one", range(100)), ("other", range(60, 160))):
        rows = "\n".join(f"{n},x" for n in numbers)
        (tmp_path / f"{name}.csv").write_text(f"\ufeff身份证号,说明\n{rows}\n", "utf-8")
        made = CliRunner().invoke(
            cli,
            ["sketch", str(tmp_path / f"{name}.csv"), "--column", "身份证号", "--key", str(tmp_path / "key"),
             "--label", name, "--write", str(tmp_path / f"{name}.json")],
        )  # fmt: skip
        assert made.exit_code == 0, made.output
    files = [str(tmp_path / f"{name}.json") for name in ("one", "other")]
    told = CliRunner().invoke(cli, ["overlap", *files, "--json"])
    assert json.loads(told.stdout)["common"] == 40
    wrong = CliRunner().invoke(
        cli,
        [
            "sketch",
            str(tmp_path / "one.csv"),
            "--column",
            "号码",
            "--key",
            str(tmp_path / "key"),
            "--label",
            "x",
        ],
    )
    assert wrong.exit_code == 2
