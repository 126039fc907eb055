"""Real catalogs of others, whole: brought in, told to others as their standards demand, exported and brought back."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from rdflib.namespace import DCAT, RDF
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel.actor import Role
from catalog.formats.detect import open_source
from catalog.formats.export import write_csv, write_workbook
from catalog.formats.reading import Read
from catalog.imports.run import ImportOptions, run_import
from catalog.imports.wire import ImportReport
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from tests.catalog.test_dcat import conform, faults, part_of, whole
from tests.factories import OPERATOR, Town

pytestmark = [
    pytest.mark.soak,
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
]

# Of how many datasets of a catalog the shapes are asked, drawn with a seed; 0: of all. 3,357 take four minutes.
DATASETS = int(os.environ.get("ZHENGTONG_SOAK_DATASETS", "0"))

# Where each stands below the folder of real catalogs, the mapping that reads it, and how many resources it has.
CATALOGS = {
    "taoyuan": ("taoyuan-catalogue/catalogue.csv", "taoyuan", 1429),
    "us": ("us-datajson/*.json", None, 3357),
    "canada": ("canada-collection-dictionary/fields.csv", "canada-forms", 29),
}


def load(session: Session, shared_data: Path, name: str) -> list[ImportReport]:
    """Bring a catalog in, as published."""
    pattern, mapping, _ = CATALOGS[name]
    reports = []
    for file in sorted(shared_data.glob(pattern)):
        with file.open("rb") as stream:
            reports.append(run_import(session, stream, ImportOptions(mapping=mapping), by=OPERATOR))
    return reports


@pytest.mark.parametrize("name", CATALOGS)
def test_it_conforms_to_dcat_ap_and_dcat_us(
    session: Session,
    town: Town,
    client: TestClient,
    shared_data: Path,
    us_schema: Draft202012Validator,
    name: str,
) -> None:
    reports, number = load(session, shared_data, name), CATALOGS[name][2]
    assert (sum(r.new for r in reports), sum(r.rejected for r in reports)) == (number, 0)
    # The client commits; people of an agency see what is published, open to all or not.
    headers = town.headers("civil", Role.CLERK)
    graph = whole(client, "xml", **headers)  # the quickest to write and read
    assert len(set(graph.subjects(RDF.type, DCAT.Dataset))) == number
    part = part_of(graph, DATASETS)
    assert len(set(part.subjects(RDF.type, DCAT.Dataset))) == (min(DATASETS, number) or number)
    assert list(conform(part, shared_data)) == ["", ""]
    document = client.get("/data.json", headers=headers).json()
    assert len(document["dataset"]) == number and faults(us_schema, document) == []


def test_what_the_us_schema_refuses_is_told(session: Session, town: Town, shared_data: Path) -> None:
    """Six datasets break DCAT-US 1.1 itself: they come in, each with a note that names member and rule."""
    notes = {(r.source, n.place): n for r in load(session, shared_data, "us") for n in r.notes}
    assert len(notes) == 6
    for note in notes.values():
        assert note.field.startswith("/") and note.rule is not None
        assert "DCAT-US 1.1" in note.rule.zh and "DCAT-US 1.1" in note.rule.en


@pytest.mark.parametrize("form", ["xlsx", "csv"])
@pytest.mark.parametrize("name", CATALOGS)
def test_exported_it_comes_back_without_loss(
    session: Session, town: Town, shared_data: Path, name: str, form: str
) -> None:
    load(session, shared_data, name)
    held = {
        resource.code: ResourceRecord.model_validate(resource.record)
        for resource in session.scalars(select(Resource).order_by(Resource.agency_id, Resource.code))
    }
    exported = io.BytesIO()
    write = write_workbook if form == "xlsx" else write_csv
    assert write(held.values(), exported) == len(held) == CATALOGS[name][2]
    exported.seek(0)
    read = {r.record.code: r.record for r in open_source(exported).rows if isinstance(r, Read)}
    left_out = {"source_id": None}  # the identifier in the catalog it first came from: known by its code
    assert {code: r.model_copy(update=left_out) for code, r in held.items()} == {
        code: r.model_copy(update=left_out) for code, r in read.items()
    }
    exported.seek(0)
    # What others publish lacks what is asked of a filing; as it is held already, it is not asked again.
    report = run_import(session, exported, ImportOptions(), by=OPERATOR)
    assert (report.new, report.changed, report.unchanged, report.rejected) == (0, 0, len(held), 0)
    assert session.scalar(select(func.count()).select_from(Resource)) == len(held)
