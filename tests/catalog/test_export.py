"""The catalog written as a workbook and read back: what has a column comes back as it was."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook
from sqlalchemy import select

from app.demo.sample_city import resources
from app.identity import agencies
from app.kernel.db import Database
from app.kernel.text import Locale
from app.operate import export_workbook
from catalog.formats import export
from catalog.formats.csv_ import read_csv
from catalog.formats.export import write_csv, write_workbook
from catalog.formats.mapping import load_mapping
from catalog.formats.reading import FileTooLarge, Read
from catalog.formats.template import COLUMNS
from catalog.formats.workbook import read_workbook
from catalog.imports.run import ImportOptions, import_file
from catalog.resources.importing import Incoming, upsert_imported
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from tests.catalog import samples
from tests.catalog.sheets import position
from tests.factories import OPERATOR, credit_code


def numbered(records: Iterable[ResourceRecord]) -> list[ResourceRecord]:
    """With codes, as the catalog gives them."""
    return [
        record.model_copy(update={"code": f"300000/{n:06d}"}) for n, record in enumerate(records, start=1)
    ]


def there_and_back(records: list[ResourceRecord], locale: Locale = "zh-CN") -> list[ResourceRecord]:
    stream = io.BytesIO()
    assert write_workbook(records, stream, locale) == len(records)
    rows = list(read_workbook(stream, for_filing=False))
    assert all(isinstance(row, Read) for row in rows), rows
    return [row.record for row in rows if isinstance(row, Read)]


def assert_carried(before: list[ResourceRecord], after: list[ResourceRecord]) -> None:
    """Every field is as it was, but the identifier in the catalog a record first came from."""
    without = {"source_id": None}
    assert [r.model_copy(update=without) for r in after] == [r.model_copy(update=without) for r in before]


@pytest.mark.parametrize("locale", ["zh-CN", "en"])
def test_the_sample_city_comes_back(locale: Locale) -> None:
    city = numbered(resource.record for resource in resources())
    assert len(city) == 98
    assert_carried(city, there_and_back(city, locale))


@pytest.mark.soak
def test_a_real_catalog_comes_back(shared_data: Path) -> None:
    with (shared_data / "taoyuan-catalogue" / "catalogue.csv").open("rb") as stream:
        rows = list(read_csv(stream, load_mapping("taoyuan")))
    records = numbered(row.record for row in rows if isinstance(row, Read))
    assert len(records) == 1429
    assert_carried(records, there_and_back(records))


TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="；;"), min_size=1, max_size=20
).filter(lambda text: text == text.strip() != "")


@settings(max_examples=60, deadline=None)
@given(title=TEXTS, keywords=st.lists(TEXTS, max_size=4), names=st.lists(TEXTS, max_size=3))
def test_any_text_comes_back(title: str, keywords: list[str], names: list[str]) -> None:
    items = [{"name": name, "definition": f"={name}\n第二行"} for name in names]
    record = samples.record(title=title, keywords=keywords, items=items, code="300000/000001")
    assert_carried([record], there_and_back([record]))


@pytest.mark.parametrize(
    "text", ["=1+1", "'=1+1", "-5", "@SUM(A1)", "+86", "_x000D_", "_x0041_", "是", "真 假"]
)
def test_no_text_becomes_a_formula_or_another_text(text: str) -> None:
    record = samples.record(title=text, abstract=text, keywords=[text], code="300000/000001")
    stream = io.BytesIO()
    write_workbook([record], stream)
    for row in load_workbook(stream).worksheets[0].iter_rows(min_row=2):
        assert all(cell.data_type != "f" and not str(cell.value).startswith(tuple("=+-@")) for cell in row)
    assert_carried([record], there_and_back([record]))


def test_resources_of_one_name_and_provider_stay_two() -> None:
    twins = numbered([samples.record(), samples.record(items=[]), samples.record()])
    assert_carried(twins, there_and_back(twins))


def test_what_a_cell_cannot_hold_goes_on_in_the_last_column() -> None:
    keywords = [f"{n:04d}" + "词" * 400 for n in range(200)]
    long = samples.record(keywords=keywords, extra={"说明": "长" * 70_000}, items=[])
    assert_carried(numbered([long]), there_and_back(numbered([long])))


def test_what_the_columns_would_read_otherwise_comes_back_as_it_was() -> None:
    record = samples.record(
        keywords=["甲；乙", "a; b"],
        description="行一\r\n行二",
        categories=["类"],
        classification={"resource_class": "3", "item": "12", "section": "345", "detail": "A1"},
        distributions=[{"title": "一", "access_url": "https://a.example/x"}],
        extra={"嵌套": {"数": [1, 2.5, None, True]}},
    )
    assert_carried(numbered([record]), there_and_back(numbered([record])))


def test_more_rows_than_can_be_read_back_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROW_LIMIT", 5)
    write_workbook(numbered([samples.record()]), io.BytesIO())
    with pytest.raises(FileTooLarge):
        write_workbook(numbered([samples.record(), samples.record()]), io.BytesIO())


def test_csv_has_the_same_rows() -> None:
    records = numbered([samples.record(title="=甲"), samples.record(items=[])])
    stream = io.BytesIO()
    assert write_csv(records, stream) == 2
    assert stream.getvalue().startswith(b"\xef\xbb\xbf")
    header, *rows = csv.reader(io.StringIO(stream.getvalue().decode("utf-8-sig"), newline=""))
    assert header[0] == "资源名称 Title" and len(header) == len(COLUMNS) + 1
    book = io.BytesIO()
    write_workbook(records, book)
    sheet = load_workbook(book).worksheets[0]
    assert rows == [
        [str(value or "") for value in row] for row in sheet.iter_rows(min_row=2, values_only=True)
    ]


OFFICE = credit_code(1)


@pytest.fixture
def city(database: Database) -> Iterator[Database]:
    """A database with the sample city's catalog, all of it one agency's."""
    with database.transaction() as session:
        nation = agencies.jurisdiction_by_code(session, "100000")
        office = agencies.register_agency(
            session, name="办公厅", jurisdiction_id=nation.id, credit_code=OFFICE, verified=False, by=OPERATOR
        )
        incoming = [Incoming(office, resource.record) for resource in resources()]
        upsert_imported(session, incoming, source="city", as_state="published", by=OPERATOR)
    yield database


def contents(database: Database) -> dict[str, bytes]:
    with database.transaction() as session:
        rows = session.execute(select(Resource.code, Resource.content_hash))
        return {row.code: row.content_hash for row in rows}


def test_the_published_catalog_brought_in_again_changes_nothing(city: Database, tmp_path: Path) -> None:
    before, file = contents(city), tmp_path / "catalog.xlsx"
    assert export_workbook(city, file) == len(before) == 98
    assert [entry.name for entry in tmp_path.iterdir()] == ["catalog.xlsx"]
    report = import_file(city, file, ImportOptions(agency_code=OFFICE))
    assert (report.new, report.changed, report.unchanged, report.rejected) == (0, 0, 98, 0)
    assert contents(city) == before


def test_a_cell_changed_in_the_workbook_changes_that_field_alone(city: Database, tmp_path: Path) -> None:
    file = tmp_path / "catalog.xlsx"
    export_workbook(city, file)
    book = load_workbook(file)
    code = book.worksheets[0].cell(2, position("code")).value
    book.worksheets[0].cell(2, position("keywords")).value = "新词；另一个"
    book.save(file)
    with city.transaction() as session:
        before = session.scalars(select(Resource.record).where(Resource.code == code)).one()
    report = import_file(city, file, ImportOptions(agency_code=OFFICE))
    assert (report.new, report.changed, report.unchanged, report.rejected) == (0, 1, 97, 0)
    with city.transaction() as session:
        after = session.scalars(select(Resource.record).where(Resource.code == code)).one()
    assert before["language"] and before["classification"]["item"] != "00"
    assert after == {**before, "keywords": ["新词", "另一个"]}


def test_csv_by_suffix(city: Database, tmp_path: Path) -> None:
    assert export_workbook(city, tmp_path / "catalog.CSV") == 98
    with (tmp_path / "catalog.CSV").open(encoding="utf-8-sig", newline="") as stream:
        titles = {row[0] for row in csv.reader(stream)}
    assert titles == {"资源名称 Title", *(resource.record.title for resource in resources())}


def test_an_export_that_fails_leaves_the_file_as_it_was(
    city: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "catalog.xlsx"
    file.write_bytes(b"the one before")
    monkeypatch.setattr(export, "ROW_LIMIT", 50)
    with pytest.raises(FileTooLarge):
        export_workbook(city, file)
    assert file.read_bytes() == b"the one before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["catalog.xlsx"]
