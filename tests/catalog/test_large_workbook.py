"""A workbook of 100,000 rows: read, rehearsed and brought in with bounded memory, telling how far it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from openpyxl import Workbook

from app.kernel.actor import Role
from app.kernel.db import Database
from catalog.formats.template import COLUMNS
from catalog.imports import service
from catalog.imports.models import ImportJob
from catalog.imports.run import ImportOptions
from catalog.imports.states import FINISHED, PREVIEWED
from tests.catalog.sheets import ITEM, RESOURCE
from tests.factories import Town

pytestmark = pytest.mark.soak

ROWS = int(os.environ.get("ZHENGTONG_SOAK_SHEET_ROWS", "100000"))
ITEMS = 10  # of one resource
MEMORY_LIMIT_MB = 600  # of the process that reads; a third of it is the program itself
PATHS = [f"item.{c.path}" if c.of_item else c.path for c in COLUMNS]

WORK = r"""
import json, re, sys, time
import app.worker
from app.kernel.db import Database
from app.kernel.outbound import Outbound
from catalog.imports import work
database, act = Database(sys.argv[1]), getattr(work, sys.argv[2])

def peak_mb():  # ru_maxrss would be that of the process that started this one
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024

before, began = peak_mb(), time.monotonic()
act(database, Outbound(), {"import_id": sys.argv[3]})
print(json.dumps({"seconds": time.monotonic() - began, "before_mb": before, "peak_mb": peak_mb()}))
"""


def write_sheet(path: Path) -> None:
    book = Workbook(write_only=True)
    sheet = book.create_sheet("目录")
    sheet.append([column.heading for column in COLUMNS])
    for number in range(ROWS):
        cells = {**ITEM, "item.name": f"信息项{number % ITEMS}"}
        if number % ITEMS == 0:
            cells |= {**RESOURCE, "title": f"资源{number // ITEMS}"}
        sheet.append([cells.get(name) for name in PATHS])
    book.save(path)


def worked(database: Database, act: str, job: str) -> tuple[dict[str, float], set[int]]:
    """What a worker's process says of its time and memory, and the counts of resources read that others saw."""
    seen: set[int] = set()
    command = [sys.executable, "-c", WORK, database.url, act, job]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            with database.transaction() as session:
                seen.add(session.get_one(ImportJob, job).resources_read)
            time.sleep(0.2)  # a person who looks how far it is; nothing waits for this
        assert running.stdout is not None and running.returncode == 0
        return json.loads(running.stdout.read()), seen


def test_a_hundred_thousand_rows(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "catalog.xlsx"
    write_sheet(file)
    with database.transaction() as session, file.open("rb") as stream:
        by = Town(session).actor("civil", Role.CATALOG_ADMINISTRATOR)
        job = str(service.submit(session, stream, file.name, ImportOptions(as_state="draft"), by=by).id)
    rehearsed, seen = worked(database, "rehearse", job)
    assert len(seen) > 3 and rehearsed["peak_mb"] < MEMORY_LIMIT_MB, rehearsed
    with database.transaction() as session:
        row = session.get_one(ImportJob, job)
        assert (row.state, row.resources_read) == (PREVIEWED, ROWS // ITEMS)
        service.commit(session, row, by=by, expected_version=row.version)
    brought, seen = worked(database, "bring_in", job)
    assert len(seen) > 3 and brought["peak_mb"] < MEMORY_LIMIT_MB, brought
    with database.transaction() as session:
        assert session.get_one(ImportJob, job).state == FINISHED
    print(f"{ROWS} rows, {file.stat().st_size >> 10} KiB: rehearsed {rehearsed}, brought in {brought}")
