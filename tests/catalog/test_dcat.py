"""DCAT as others read it: what the profiles' own shapes and schema say of it, and who may read what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pyshacl import validate
from rdflib import BNode, Graph, URIRef
from rdflib.namespace import DCAT, DCTERMS, RDF, SH
from rdflib.term import Node
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.demo import sample_city
from app.kernel.actor import Role
from catalog.interop.dcat import HYDRA
from catalog.resources.importing import Incoming, upsert_imported
from tests.catalog.samples import OPEN, record
from tests.conftest import PUBLIC_URL
from tests.factories import OPERATOR, Town

pytestmark = [
    pytest.mark.soak,  # `.ci/run` runs it; too long for every `make test`
    # rdflib's own JSON-LD parser uses the class it deprecates.
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
]

FORMATS = {"ttl": "turtle", "jsonld": "json-ld", "xml": "xml"}

Records = dict[str, dict[str, Any]]


def bring(session: Session, town: Town, **records: dict[str, Any]) -> None:
    """Publish records of the civil affairs bureau, each under the name given."""
    incoming = [
        Incoming(town.agencies["civil"], record(**{"title": name, "source_id": name, **changes}))
        for name, changes in records.items()
    ]
    upsert_imported(session, incoming, source="s", as_state="published", by=OPERATOR)
    session.flush()


def whole(client: TestClient, form: str = "ttl", **headers: str) -> Graph:
    """The catalog, following `hydra:next` from page to page."""
    graph, address = Graph(), f"/catalog.{form}"
    while address:
        answer = client.get(address, headers=headers)
        assert answer.status_code == 200, answer.text
        page = Graph().parse(data=answer.content, format=FORMATS[form])
        view = next(page.subjects(RDF.type, HYDRA.PartialCollectionView))
        address = str(page.value(view, HYDRA.next) or "").removeprefix(PUBLIC_URL)
        graph += page
    return graph


def titles(graph: Graph) -> set[str]:
    return {str(t) for d in graph.subjects(RDF.type, DCAT.Dataset) for t in graph.objects(d, DCTERMS.title)}


def violations(graph: Graph, *shapes: Path) -> str:
    """What the shapes find, as text; empty where they find nothing."""
    rules = Graph()
    for file in shapes:
        rules.parse(file)
    without_idle(rules, set(graph.predicates()))
    conforms, _, text = validate(
        graph, shacl_graph=rules, inference="none", do_owl_imports=False, inplace=True
    )
    return "" if conforms else str(text)[:3000]


def without_idle(rules: Graph, used: set[Node]) -> None:
    """Drop the properties that the graph does not have and need not have: three in four of DCAT-US, whose checks
    of nothing would take most of a minute."""
    for shape, rule in list(rules.subject_objects(SH.property)):
        path, least = rules.value(rule, SH.path), rules.value(rule, SH.minCount)
        asks = SH.hasValue in set(rules.predicates(rule)) or (least is not None and int(str(least)) > 0)
        if isinstance(path, URIRef) and path not in used and not asks:
            rules.remove((shape, SH.property, rule))


def load_city(session: Session, town: Town) -> None:
    """The sample city's catalog, under the town's agencies: what its records say is what is tested."""
    incoming = [Incoming(town.agencies["civil"], one.record) for one in sample_city.resources()]
    upsert_imported(session, incoming, source="city", as_state="published", by=OPERATOR)


def part_of(graph: Graph, number: int) -> Graph:
    """The catalog with `number` of its datasets, drawn with a seed, and all that is said of them."""
    datasets = sorted(set(graph.subjects(RDF.type, DCAT.Dataset)), key=str)
    if not 0 < number < len(datasets):
        return graph
    left_out = set(datasets) - set(Random(3).sample(datasets, number))
    part, waiting = Graph(), sorted(set(graph.subjects(RDF.type, DCAT.Catalog)), key=str)
    known = set(waiting)
    for node in waiting:  # grows while it is read
        for predicate, value in graph.predicate_objects(node):
            if value in left_out:
                continue
            part.add((node, predicate, value))
            if value not in known:
                known.add(value)
                waiting.append(value)
    return part


def conform(graph: Graph, shared_data: Path) -> Iterator[str]:
    shapes = shared_data / "dcat-shapes"
    ap = shapes / "dcat-ap-3.0.0"
    yield violations(graph, ap / "shapes.ttl", ap / "range.ttl")
    yield violations(graph, shapes / "dcat-us-3/shacl/dcat-us_3.0_shacl_shapes.ttl")


def faults(schema: Draft202012Validator, document: Any) -> list[str]:
    return [f"{list(e.absolute_path)}: {e.message[:200]}" for e in schema.iter_errors(document)]


def test_the_shapes_refuse_what_is_wrong(
    session: Session, town: Town, client: TestClient, shared_data: Path, us_schema: Draft202012Validator
) -> None:
    """So that the tests below can fail."""
    bring(session, town, 路灯=OPEN)
    graph = whole(client)
    dataset = next(graph.subjects(RDF.type, DCAT.Dataset))
    graph.remove((dataset, DCTERMS.description, None))
    graph.add((dataset, DCTERMS.license, BNode()))
    assert all("minCount" in found or "Less than 1" in found for found in conform(graph, shared_data))
    document = client.get("/data.json").json()
    del document["dataset"][0]["contactPoint"][0]["hasEmail"]
    assert len(faults(us_schema, document)) == 1


def test_the_sample_city_conforms_for_its_own_people(
    session: Session, town: Town, client: TestClient, shared_data: Path, us_schema: Draft202012Validator
) -> None:
    load_city(session, town)
    headers = town.headers("civil", Role.CLERK)
    graph = whole(client, **headers)
    assert len(set(graph.subjects(RDF.type, DCAT.Dataset))) == 98
    assert list(conform(graph, shared_data)) == ["", ""]
    document = client.get("/data.json", headers=headers).json()
    assert len(document["dataset"]) == 98
    assert faults(us_schema, document) == []


@pytest.mark.parametrize("form", ["jsonld", "xml"])
def test_every_syntax_says_the_same(session: Session, town: Town, client: TestClient, form: str) -> None:
    load_city(session, town)
    turtle, other = whole(client), whole(client, form)
    own = {(s, p, o) for s, p, o in turtle if not isinstance(s, BNode) and not isinstance(o, BNode)}
    told = {(s, p, o) for s, p, o in other if not isinstance(s, BNode) and not isinstance(o, BNode)}
    paging = {HYDRA.view, HYDRA.first, HYDRA.next}
    addresses = {URIRef(f"{PUBLIC_URL}/catalog.{name}") for name in FORMATS}
    assert {t for t in own ^ told if t[1] not in paging and t[0] not in addresses} == set()
    assert len(turtle) == len(other)


def test_only_what_is_open_and_published_is_told_to_the_public(
    session: Session, town: Town, client: TestClient
) -> None:
    bring(session, town, 路灯=OPEN, 婚姻={})
    draft = [Incoming(town.agencies["civil"], record(title="草稿", source_id="d", **OPEN))]
    upsert_imported(session, draft, source="s", as_state="draft", by=OPERATOR)
    session.flush()
    assert titles(whole(client)) == {"路灯", "Marriage registrations"}
    assert {d["title"] for d in client.get("/data.json").json()["dataset"]} == {"路灯"}
    totals = list(whole(client).objects(None, HYDRA.totalItems))
    assert [int(str(total)) for total in totals] == [1]
    headers = town.headers(
        "civil", Role.CLERK
    )  # who may see the draft, which is not in the catalog all the same
    assert titles(whole(client, **headers)) == {"路灯", "婚姻", "Marriage registrations"}
    assert {d["title"] for d in client.get("/data.json", headers=headers).json()["dataset"]} == {
        "路灯",
        "婚姻",
    }


def test_one_resource_in_each_syntax(session: Session, town: Town, client: TestClient) -> None:
    bring(session, town, 路灯=OPEN, 婚姻={})
    listed = client.get("/api/v1/resources", headers=town.headers("civil", Role.CLERK)).json()["items"]
    ids = {item["title"]: item["id"] for item in listed}
    for form, name in FORMATS.items():
        answer = client.get(f"/catalog/{ids['路灯']}.{form}")
        graph = Graph().parse(data=answer.content, format=name)
        dataset = URIRef(f"{PUBLIC_URL}/catalog/{ids['路灯']}#dataset")
        assert (dataset, RDF.type, DCAT.Dataset) in graph
        assert client.get(f"/catalog/{ids['婚姻']}.{form}").status_code == 404
    assert client.get(f"/catalog/{ids['路灯']}.rdf").status_code == 422


def test_what_sources_write_into_addresses_and_texts_breaks_nothing(
    session: Session, town: Town, client: TestClient, shared_data: Path, us_schema: Draft202012Validator
) -> None:
    bring(
        session, town,
        坏={
            **OPEN,
            "abstract": "控制符\x0b与\x1f字符 <b>&amp;</b>",
            "landing_page": "javascript:alert(1)",
            "licence": "内部 授权",
            "contact": {"name": "科", "email": "不是地址", "telephone": "(03) 42 <>"},
            "distributions": [
                {"access_url": "http://例子.cn/a b<c>\"{d}", "format": "CSV"},
                {"access_url": "http://[bad", "download_url": "ftp://h.cn/x.csv", "media_type": "text/csv"},
                {"access_url": "见网站", "media_type": "无"},
            ],
        },
    )  # fmt: skip
    for form, name in FORMATS.items():
        text = client.get(f"/catalog.{form}").text
        assert "javascript" not in text
        graph = Graph().parse(data=text, format=name)
        assert list(conform(graph, shared_data)) == ["", ""]
    document = client.get("/data.json").json()
    assert faults(us_schema, document) == []
    assert [d["accessURL"] for d in document["dataset"][0]["distribution"]][1] == "ftp://h.cn/x.csv"


def test_a_cursor_is_this_service_s_own(client: TestClient) -> None:
    assert client.get("/catalog.ttl", params={"cursor": 'x">'}).status_code == 422
