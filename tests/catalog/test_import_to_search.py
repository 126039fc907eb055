"""A real catalog from its file to a search result, in a database that commits."""

from __future__ import annotations

from pathlib import Path

from app.kernel.actor import ANONYMOUS
from app.kernel.db import Database
from catalog.imports.run import ImportOptions, import_file
from catalog.search import indexing, service
from catalog.search.index import CatalogIndex


def found(database: Database, index: CatalogIndex, typed: str) -> list[service.Found]:
    with database.transaction() as session:
        rows, _ = service.search(
            session, index, typed, by=ANONYMOUS, filters={}, facets=(), limit=20, sort="relevance"
        )
        return rows


def test_both_catalogs_are_found_in_either_script(
    database: Database, shared_data: Path, tmp_path: Path
) -> None:
    seen: list[int] = []
    taoyuan = shared_data / "taoyuan-catalogue" / "catalogue.csv"
    report = import_file(database, taoyuan, ImportOptions(mapping="taoyuan"), seen.append)
    assert report.new == 1429 and seen == [500, 1000] and len(report.agencies_created) == 34
    again = import_file(database, taoyuan, ImportOptions(mapping="taoyuan"))
    assert (again.new, again.changed, again.unchanged, again.agencies_created) == (0, 0, 1429, [])
    for path in sorted((shared_data / "us-datajson").glob("*.json")):
        import_file(database, path, ImportOptions())
    index = CatalogIndex.open(tmp_path)
    assert indexing.run_once(database, index) == 1429 + 3357
    assert all("地號" in row.resource.title for row in found(database, index, "地号")[:5])
    assert any("地號" in row.matching_items for row in found(database, index, "地号"))
    assert found(database, index, "身份证")
    assert all("grant" in row.resource.title.lower() for row in found(database, index, "grants")[:5])
    index.close()
