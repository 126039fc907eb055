"""Providers' files through a real gateway: CSV, Parquet and spreadsheets give what the slow reference says."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from openpyxl import Workbook
from pyarrow import parquet

from app.kernel.actor import Role
from exchange.delivery.file_provider import FileProvider
from exchange.delivery.protocol import FileSource
from exchange.scope import parse_scope
from exchange.terms import ItemTerm, LastN, Method, Range, YearOnly
from tests.delivery.agreed import QUOTA, RESOURCE, agreed
from tests.delivery.world import MASK_KEY, World, running_world
from tests.exchange.reference import reference_covers, reference_mask
from tests.exchange.world import World as Exchange

SCOPE = "status = '在营' AND n >= 10 AND capital < 90000.5"
ITEMS = (
    ItemTerm(code="name"),
    ItemTerm(code="n"),
    ItemTerm(code="credit", mask=LastN(keep=3)),
    ItemTerm(code="capital", mask=Range(width=1000)),
    ItemTerm(code="born", mask=YearOnly()),
    ItemTerm(code="active"),
)
COLUMNS = {"credit": "信用代码"}
TYPES: Any = {"n": "whole", "capital": "number", "born": "date", "active": "truth"}
ROWS: list[dict[str, Any]] = [
    {
        "n": n,
        "name": ['甲"乙', "a,b\nc", None, "100%"][n % 4],
        "credit": f"00{n:04d}",
        "capital": Decimal(n * 137) / 4,
        "born": date(1990 + n % 20, 1 + n % 12, 1),
        "active": [True, False, None][n % 3],
        "status": ["在营", "注销"][n % 5 == 0],
        "secret": "never",
    }
    for n in range(1500)
]
HEADING = [COLUMNS.get(code, code) for code in ROWS[0]]


def expected() -> list[dict[str, Any]]:
    scope, key = parse_scope(SCOPE), bytes.fromhex(MASK_KEY)
    kept = [row for row in ROWS if reference_covers(scope, row) is True]
    return [{item.code: reference_mask(item.mask, row[item.code], key) for item in ITEMS} for row in kept]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same records in every form."""
    files = tmp_path_factory.mktemp("files")
    for encoding in ("utf-8", "gb18030"):
        with (files / f"{encoding}.csv").open("w", newline="", encoding=encoding) as file:
            writer = csv.writer(file)
            writer.writerow(HEADING)
            writer.writerows(
                ["" if v is None else str(v).lower() if isinstance(v, bool) else v for v in row.values()]
                for row in ROWS
            )
    renamed = [dict(zip(HEADING, row.values(), strict=True)) for row in ROWS]
    parquet.write_table(pa.Table.from_pylist(renamed), files / "records.parquet", row_group_size=400)
    book = Workbook(write_only=True)
    sheet = book.create_sheet("登记")
    sheet.append(HEADING)
    for row in ROWS:
        sheet.append(list(row.values()))
    book.save(files / "records.xlsx")
    (files.parent / "outside.csv").write_text("name\nnever\n")
    (files / "link.csv").symlink_to(files.parent / "outside.csv")
    (files / "broken.parquet").write_bytes(b"PAR1 not really")
    (files / "twice.csv").write_text("name,name\na,b\n")
    (files / "odd.csv").write_text("name,n\na,1\nb,many\n")
    return files


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("gateway"), files=str(folder)) as running:
        yield running


def fetched(world: World, source: FileSource, **changed: Any) -> Any:
    terms = agreed(
        **(
            {"items": ITEMS, "scope": SCOPE, "quota": QUOTA.model_copy(update={"rows_per_call": 5000})}
            | changed
        )
    )
    agreement = world.centre.agree(terms, {str(RESOURCE): source})
    return world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement))


@pytest.mark.parametrize(
    "source",
    [
        FileSource(path="utf-8.csv", format="csv", columns=COLUMNS, types=TYPES),
        FileSource(path="gb18030.csv", format="csv", encoding="gb18030", columns=COLUMNS, types=TYPES),
        FileSource(path="records.parquet", format="parquet", columns=COLUMNS),
        FileSource(path="records.xlsx", format="xlsx", sheet="登记", columns=COLUMNS),
    ],
    ids=lambda source: source.path,
)
def test_a_file_gives_what_was_agreed(world: World, source: FileSource) -> None:
    answer = fetched(world, source)
    assert answer.status_code == 200, answer.text
    assert answer.json() == expected()
    assert b"never" not in answer.content
    terms = agreed(
        items=ITEMS, scope=SCOPE, method=Method.BULK, quota=QUOTA.model_copy(update={"rows_per_call": 5000})
    )
    agreement = world.centre.agree(terms, {str(RESOURCE): source})
    headers = {"authorization": f"Bearer {world.centre.grant(agreement)}"}
    url = f"{world.gateway.url}/v1/extracts"
    made = world.gateway.client.post(
        f"{url}/{agreement}/{RESOURCE}?purpose=P1&form=ndjson", headers=headers
    ).json()
    body = world.gateway.client.get(f"{url}/{made['id']}/data", headers=headers).content
    assert [json.loads(line) for line in body.splitlines()] == expected()


@pytest.mark.parametrize("path", ["../outside.csv", "link.csv", "nowhere.csv", "/etc/passwd", "."])
def test_no_path_leaves_the_folder(world: World, path: str) -> None:
    answer = fetched(world, FileSource(path=path, format="csv"), items=(ItemTerm(code="name"),), scope=None)
    assert (answer.status_code, answer.json()["type"]) == (502, "/problems/provider-failed")
    assert world.centre.receipt(answer.json()["receipt"]).outcome.result == "failed"
    assert "never" not in answer.text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (FileSource(path="broken.parquet", format="parquet"), "cannot be read"),
        (FileSource(path="broken.parquet", format="xlsx"), "cannot be read"),
        (FileSource(path="broken.parquet", format="csv"), "no such column"),
        (FileSource(path="twice.csv", format="csv"), "no such column, or more than one: name"),
        (FileSource(path="odd.csv", format="csv", types={"name": "date"}), "row 1: “name”"),
        (FileSource(path="gb18030.csv", format="csv"), "cannot be read"),
    ],
)
def test_a_file_that_is_not_what_was_said_is_a_problem(world: World, source: FileSource, said: str) -> None:
    answer = fetched(world, source, items=(ItemTerm(code="name"),), scope=None)
    assert (answer.status_code, answer.json()["type"]) == (502, "/problems/provider-failed")
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("path", ["../x.csv", "/etc/x.csv", "a/../../x.csv"])
def test_only_paths_below_the_folder_are_registered(world_: Exchange, path: str) -> None:
    resource = world_.publish()
    body = {"kind": "file", "path": path, "format": "csv"}
    where = f"/resources/{resource}/source"
    problem = world_.call("PUT", where, "civil", Role.CLERK, body=body, expect=422)
    assert [fault["field"] for fault in problem["errors"]] == ["/path"]
    kept = world_.call("PUT", where, "civil", Role.CLERK, body={**body, "path": "civil/x.csv"})
    assert kept["connection"]["path"] == "civil/x.csv"


@pytest.fixture
def world_(session: Any, town: Any, client: Any) -> Exchange:
    return Exchange(session, town, client)


def test_columns_of_a_parquet_file_are_what_arrow_says(tmp_path: Path) -> None:
    """From the middle of a column too, with letters of several bytes, empty texts, nulls and numbers of every size."""
    held = {
        "ascii": ["a", "", "xyz"] * 2000,
        "text": ["甲乙", "", "b丙"] * 2000,
        "gaps": ["甲", None, ""] * 2000,
        "none": [""] * 6000,
        "n": [-(2**63), 0, 2**63 - 1] * 2000,
        "some": [1, None, 3] * 2000,
        "day": [date(1, 1, 1), None, date(9999, 12, 31)] * 2000,
    }
    parquet.write_table(pa.table(held), tmp_path / "held.parquet", row_group_size=3001)
    provider = FileProvider(FileSource(path="held.parquet", format="parquet"), tmp_path)
    batches = list(provider.columns(list(held)))
    assert len(batches) > 2
    for place, values in enumerate(held.values()):
        assert [value for batch in batches for value in batch[place]] == values
