"""Catalogs of others: DCAT-US 1.1 and 3, DCAT-AP in its three syntaxes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from rdflib import Graph

from app.identity.models import Agency, Jurisdiction
from app.kernel.clock import now
from catalog.formats.detect import SourceFormat, open_source
from catalog.formats.export import write_workbook
from catalog.formats.mapping import load_mapping
from catalog.formats.reading import AgencyRef, FileRefused, Read, Rejected, Row
from catalog.interop import dcat, dcat_us
from catalog.interop.dcat import CatalogPage, Form
from catalog.interop.entries import Entry, Site
from catalog.resources.codes import Openness, PlatformMode, SharingType, Theme, UpdateCycle
from catalog.resources.models import Resource
from catalog.resources.record import OpennessTerms, ResourceRecord
from tests.catalog import samples

# rdflib's own JSON-LD parser uses the class it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")

SITE = Site("https://share.test")


def only_read(rows: list[Row]) -> Read:
    (row,) = rows
    assert isinstance(row, Read), row
    return row


def dataset(**changes: Any) -> dict[str, Any]:
    plain = {
        "title": "Grants", "description": "Awards", "keyword": ["grants"], "modified": "2020-01-01",
        "publisher": {"name": "TIGTA", "subOrganizationOf": {"name": "Treasury"}},
        "contactPoint": {"fn": "Office", "hasEmail": "mailto:a@b.example"}, "identifier": "T-1",
        "accessLevel": "public", "bureauCode": ["015:00"], "programCode": ["015:001"],
        "describedBy": "https://example.test/dictionary.pdf", "accrualPeriodicity": "R/P1Y",
        "distribution": [{"mediaType": "text/csv", "downloadURL": "https://example.test/a.csv"}],
    }  # fmt: skip
    return {key: value for key, value in {**plain, **changes}.items() if value is not None}


def from_dcat(*datasets: Any) -> list[Row]:
    return list(open_source(io.BytesIO(json.dumps({"dataset": datasets}).encode())).rows)


class TestDcatUs:
    def test_a_dataset_becomes_a_record(self) -> None:
        row = only_read(from_dcat(dataset()))
        record = row.record
        assert row.agency == AgencyRef("TIGTA, Treasury", None, "TIGTA, Treasury") and row.notes == ()
        assert (record.source_id, record.update_cycle) == ("T-1", UpdateCycle.YEARLY)
        assert (record.format.type, record.sharing.mode and record.sharing.mode.type) == (
            "csv",
            PlatformMode.FILE,
        )
        assert record.extra["describedBy"] == "https://example.test/dictionary.pdf"
        assert record.contact.email == "a@b.example"

    @pytest.mark.parametrize(
        ("level", "sharing", "openness"),
        [
            ("public", SharingType.UNCONDITIONAL, Openness.UNCONDITIONAL),
            ("restricted public", SharingType.CONDITIONAL, Openness.NOT_OPEN),
            ("non-public", SharingType.NOT_SHARED, Openness.NOT_OPEN),
        ],
    )
    def test_access_levels(self, level: str, sharing: SharingType, openness: Openness) -> None:
        record = only_read(from_dcat(dataset(accessLevel=level))).record
        assert (record.sharing.type, record.openness.type) == (sharing, openness)

    def test_rights_are_kept_as_the_words_of_the_source_and_never_made_up(self) -> None:
        stated = only_read(from_dcat(dataset(accessLevel="non-public", rights="Contains PII"))).record.sharing
        unsaid = only_read(from_dcat(dataset(accessLevel="non-public", rights="true"))).record.sharing
        assert stated.reason == "Contains PII"
        assert unsaid.reason == unsaid.citation == stated.citation and "non-public" in (unsaid.reason or "")

    def test_what_its_own_schema_refuses_is_noted_and_comes_in(self) -> None:
        row = only_read(from_dcat(dataset(keyword=None)))
        assert [note.field for note in row.notes] == ["/keyword"]

    def test_what_cannot_come_in_is_refused_beside_what_can(self) -> None:
        rows = from_dcat(7, dataset(identifier=None), dataset(title=""), dataset(title="x" * 600), dataset())
        assert [type(row) for row in rows] == [Rejected, Rejected, Rejected, Rejected, Read]

    @pytest.mark.parametrize("value", [{"name": "a"}, [["b"]], 5, "one", None])
    def test_members_of_a_wrong_shape_never_break_the_run(self, value: Any) -> None:
        for member in dataset():
            assert len(from_dcat({**dataset(), member: value})) == 1

    def test_members_nested_without_end_are_refused_and_do_not_stop_the_run(self) -> None:
        deep: Any = 1
        for _ in range(400):
            deep = [deep]
        assert [type(row) for row in from_dcat(dataset(extra_member=deep), dataset())] == [Rejected, Read]

    def test_unstorable_characters_are_left_out(self) -> None:
        row = only_read(from_dcat(dataset(title="a\x00b\ud800", extra_member={"k\x00": "v\x00"})))
        assert row.record.title == "ab" and row.record.extra["extra_member"] == {"k": "v"}

    @pytest.mark.parametrize(
        "content",
        [b"{", b"[]", b'{"dataset": {}}', b"[" * 100_000, b'{"dataset": [NaN]}', b'{"dataset": [\xff]}'],
    )
    def test_what_is_no_inventory_is_refused(self, content: bytes) -> None:
        with pytest.raises(FileRefused):
            list(open_source(io.BytesIO(content)).rows)

    def test_us_inventories(self, shared_data: Path) -> None:
        rows: list[Row] = []
        for path in sorted((shared_data / "us-datajson").glob("*.json")):
            with path.open("rb") as stream:
                rows += open_source(stream).rows
        read = [row for row in rows if isinstance(row, Read)]
        assert len(rows) == len(read) == 3357
        assert sum(bool(row.notes) for row in read) == 6
        assert sum("describedBy" in row.record.extra for row in read) == 710


def told(**changes: Any) -> ResourceRecord:
    """A record with all that DCAT can say of it."""
    return samples.record(
        title="路灯清册", title_en="Street lamps", abstract="全市路灯", keywords=["路灯", "市政"],
        themes=["transport"], update_cycle="monthly", published_on="2024-05-06",
        openness={"type": "unconditional"}, sharing={"type": "unconditional"},
        licence="https://creativecommons.org/licenses/by/4.0/", landing_page="https://a.example/lamps",
        distributions=[
            {"title": "CSV", "format": "CSV", "media_type": "text/csv", "access_url": "https://a.example/csv"},
            {"title": "接口", "description": "每日更新", "access_url": "https://a.example/api"},
        ],
        contact={"name": "数据科", "email": "lamps@a.example", "telephone": "+8610"},
        spatial="测试市", temporal="2020-01-01/2024-12-31", language="zh,en", modified_as_given="2024-06-07",
        **changes,
    )  # fmt: skip


def entry_of(record: ResourceRecord) -> Entry:
    agency = Agency(
        id=UUID(int=7), name="测试市城管局", name_en="City Works", credit_code="11990100000000001X"
    )
    place = Jurisdiction(id=UUID(int=8), code="990100", name="测试市", name_en="City")
    resource = SimpleNamespace(
        id=UUID(int=9), code="300000/000001", agency=agency, updated_at=now(),
        record=record.model_dump(mode="json"),
    )  # fmt: skip
    return Entry(cast(Resource, resource), place)


def exported(record: ResourceRecord, form: str) -> bytes:
    if form == "us":
        return b"".join(dcat_us.write_catalog([entry_of(record)], SITE))
    page = CatalogPage([entry_of(record)], 1, "https://share.test/c", "https://share.test/c", None)
    return dcat.write(dcat.catalog_graph(page, None, SITE), cast(Form, form))


class TestOfOtherServices:
    """What another Zhengtong exports is read with all that DCAT carries."""

    @pytest.mark.parametrize("form", ["ttl", "jsonld", "xml", "us"])
    def test_a_record_comes_back_from_each_profile_and_syntax(self, form: str) -> None:
        row = only_read(list(open_source(io.BytesIO(exported(told(), form))).rows))
        record = row.record
        assert row.notes == () and row.agency is not None and row.agency.name == "测试市城管局"
        assert row.agency.code == "11990100000000001X"
        assert (record.source_id, record.title, record.abstract) == ("300000/000001", "路灯清册", "全市路灯")
        assert set(record.keywords) == {"路灯", "市政"} and record.themes == (Theme.TRANSPORT,)
        assert record.categories == () and record.update_cycle is UpdateCycle.MONTHLY
        assert (record.sharing.type, record.openness.type) == (
            SharingType.UNCONDITIONAL,
            Openness.UNCONDITIONAL,
        )
        assert str(record.published_on) == "2024-05-06" and record.modified_as_given == "2024-06-07"
        assert record.licence == "https://creativecommons.org/licenses/by/4.0/"
        assert record.landing_page == "https://a.example/lamps"
        assert [d.access_url for d in record.distributions] == [
            "https://a.example/csv",
            "https://a.example/api",
        ]
        assert record.distributions[0].media_type == "text/csv"
        assert (record.contact.name, record.contact.email) == ("数据科", "lamps@a.example")
        assert (record.spatial, record.temporal) == ("测试市", "2020-01-01/2024-12-31")
        assert set((record.language or "").split(",")) == {"zh", "en"}

    @pytest.mark.parametrize("form", ["ttl", "jsonld", "xml", "us"])
    def test_the_same_file_is_read_the_same_again(self, form: str) -> None:
        content = exported(told(), form)
        first, second = (only_read(list(open_source(io.BytesIO(content)).rows)) for _ in range(2))
        assert first.record == second.record

    def test_not_public_is_not_taken_for_not_shared(self) -> None:
        """DCAT-AP speaks of the public; whether other agencies may have the data it does not say."""
        record = told().model_copy(update={"openness": OpennessTerms()})
        read = only_read(list(open_source(io.BytesIO(exported(record, "ttl"))).rows)).record
        assert (read.openness.type, read.sharing.type) == (Openness.NOT_OPEN, None)


TURTLE = """@prefix dcat: <http://www.w3.org/ns/dcat#> . @prefix dct: <http://purl.org/dc/terms/> .
@prefix foaf: <http://xmlns.com/foaf/0.1/> . @prefix ex: <https://ex.example/> .
ex:a a dcat:Dataset ; dct:title "Grants"@en, "补助"@zh ; dct:description "All grants"@en ;
  dct:publisher [ foaf:name "Agency" ] ; ex:own [ ex:inner "kept" ] ; dct:conformsTo ex:standard ;
  dcat:distribution [ dcat:accessURL ex:b ], [ dcat:accessURL ex:a ] .
[] a dcat:Dataset ; dct:title "Nameless" ."""


class TestDcatAp:
    def test_titles_in_two_languages_and_what_has_no_place(self) -> None:
        first, nameless = open_source(io.BytesIO(TURTLE.encode())).rows
        assert isinstance(first, Read) and isinstance(nameless, Rejected)
        record = first.record
        assert (record.title, record.title_en, record.source_id) == ("补助", "Grants", "https://ex.example/a")
        assert record.extra["https://ex.example/own"] == {"https://ex.example/inner": "kept"}
        assert record.extra["http://purl.org/dc/terms/conformsTo"] == {"@id": "https://ex.example/standard"}
        assert first.agency == AgencyRef("Agency", None, "Agency")
        assert [f.message.en for f in nameless.faults] == ["no identifier: it could not be recognised again"]

    def test_what_the_profile_demands_and_the_source_lacks_is_noted(self) -> None:
        text = "<urn:x:1> a <http://www.w3.org/ns/dcat#Dataset> ; <http://purl.org/dc/terms/title> 'A' ."
        row = only_read(list(open_source(io.BytesIO(text.encode())).rows))
        assert [note.field for note in row.notes] == ["dct:description"]

    @pytest.mark.parametrize(
        "content",
        [
            b'{"@context": "https://evil.example/c.jsonld", "@graph": []}',
            b'{"@graph": [{"@context": {"@import": "https://evil.example/c"}}]}',
            b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "b">]><r xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&a;</r>',
            b'<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><broken',
            b"@prefix dcat: <http://www.w3.org/ns/dcat#> . dcat: broken",
            b"@prefix dcat: <http://www.w3.org/ns/dcat#> . [] a dcat:Catalog .",
        ],
    )
    def test_what_must_be_fetched_expanded_or_guessed_is_refused(self, content: bytes) -> None:
        with pytest.raises(FileRefused):
            list(open_source(io.BytesIO(content)).rows)

    def test_the_example_of_dcat_us_3(self, shared_data: Path) -> None:
        path = shared_data / "dcat-shapes/dcat-us-3/jsonschema/examples/Dataset/good/complete_example.json"
        document = {"@type": "Catalog", "dataset": [json.loads(path.read_bytes())]}
        source = open_source(io.BytesIO(json.dumps(document).encode()))
        assert source.format is SourceFormat.DCAT_US_3
        row = only_read(list(source.rows))
        assert (row.record.source_id, row.notes) == ("NCDC-CLIMATE-OBS-2024", ())
        assert row.agency == AgencyRef("National Climate Data Center", "NCDC", "National Climate Data Center")
        assert row.record.categories == ("Climate Science", "Environmental Monitoring")
        assert row.record.temporal == "2024-01-01/2024-12-31" and row.record.extra["sample"]


def test_turtle_and_triples_are_one_graph() -> None:
    """N-Triples is Turtle, so that feeds in it are read too."""
    triples = Graph().parse(data=TURTLE, format="turtle").serialize(format="nt")
    lines = sorted(triples.splitlines(), key=lambda line: not line.startswith("<"))
    rows = list(open_source(io.BytesIO("\n".join(lines).encode())).rows)
    assert [type(row) for row in rows] == [Read, Rejected]


def test_canadian_forms_lose_nothing(shared_data: Path) -> None:
    """Every cell of the 506 fields is found again in the 29 resources that they become, and in their export."""
    path = shared_data / "canada-collection-dictionary" / "fields.csv"
    with path.open("rb") as stream:
        rows = list(open_source(stream, mapping=load_mapping("canada-forms")).rows)
    read = [
        row.record.model_copy(update={"code": f"300000/{n:06d}"})
        for n, row in enumerate(rows, 1)
        if isinstance(row, Read)
    ]
    assert len(rows) == len(read) == 29
    book = io.BytesIO()
    write_workbook(read, book)
    book.seek(0)
    back = [row.record for row in open_source(book).rows if isinstance(row, Read)]
    assert [r.model_copy(update={"source_id": None}) for r in back] == [
        r.model_copy(update={"source_id": None}) for r in read
    ]
    told = [cells for record in read for cells in as_source(record)]
    with path.open(encoding="utf-8-sig", newline="") as text:
        given = [
            {name: value.strip() for name, value in row.items() if value.strip()}
            for row in csv.DictReader(text)
        ]
    assert len(told) == len(given) == 506
    for ours, theirs in zip(told, given, strict=True):
        assert {name: ours.get(name) for name in theirs if name != "form_title"} == {
            name: value for name, value in theirs.items() if name != "form_title"
        }


def as_source(record: ResourceRecord) -> Iterator[dict[str, Any]]:
    """The rows of the source that a record was read from."""
    kept: Any = record.extra["rows"]
    for item, cells in zip(record.items, kept, strict=True):
        yield {
            **cells, "form": record.extra["form"], "table": record.source_id, "table_title": record.title,
            "field": item.code, "label_en": item.name, "description_en": item.definition,
        }  # fmt: skip
