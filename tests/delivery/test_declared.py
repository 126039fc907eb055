"""A provider's OpenAPI document becomes the source of a resource, or says why it does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.actor import Role
from app.kernel.errors import Invalid
from exchange.delivery.declared import Proposal, propose
from tests.exchange.world import World

ITEMS = {"id_number": "身份证号", "name": "姓名", "capital": "注册资本"}
RECORD = {
    "type": "object",
    "properties": {"id_number": {"type": "string"}, "name": {"type": "string"}, "spouse": {"type": "string"}},
}


def document(**more: Any) -> dict[str, Any]:
    """An API as frameworks write it: records two members deep, references, paging, an API key."""
    return {
        "openapi": "3.0.3",
        "servers": [{"url": "https://{where}.civil.example/v1/", "variables": {"where": {"default": "api"}}}],
        "security": [{"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
            "parameters": {
                "Page": {"name": "pageNum", "in": "query", "schema": {"type": "integer", "default": 0}}
            },
            "schemas": {
                "Base": {"type": "object", "properties": {"code": {"type": "integer"}}},
                "Marriage": RECORD,
                "Paged": {
                    "type": "object",
                    "properties": {
                        "warnings": {"type": "array", "items": {"type": "string"}},
                        "records": {"type": "array", "items": {"$ref": "#/components/schemas/Marriage"}},
                    },
                },
                "Answer": {
                    "allOf": [
                        {"$ref": "#/components/schemas/Base"},
                        {"properties": {"data": {"$ref": "#/components/schemas/Paged"}}},
                    ]
                },
            },
        },
        "paths": {
            "/marriages": {
                "get": {
                    "summary": "婚姻登记",
                    "parameters": [
                        {"$ref": "#/components/parameters/Page"},
                        {"name": "pageSize", "in": "query", "schema": {"type": "integer", "maximum": 500}},
                        {"name": "idNumber", "in": "query", "schema": {"type": "string"}},
                        {"name": "lang", "in": "query", "required": True, "schema": {"default": "zh"}},
                    ],
                    "responses": {
                        "200": {
                            "content": {
                                "application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}
                            }
                        }
                    },
                }
            },
            "/marriages/{id}": {"get": {"responses": {"200": {"content": {}}}}},
        },
        **more,
    }


def first(proposals: list[Proposal]) -> Proposal:
    return proposals[0]


def test_paging_items_records_and_credentials_are_read() -> None:
    found, single = propose(document(), ITEMS)
    connection = found.connection
    assert connection is not None
    assert connection.url == "https://api.civil.example/v1/marriages"
    assert connection.records_path == "data/records"
    assert (connection.page_parameter, connection.first_page) == ("pageNum", 0)
    assert (connection.size_parameter, connection.page_size) == ("pageSize", 500)
    assert connection.parameters == {"id_number": "idNumber"}
    assert (found.carried, found.missing, found.beyond) == (["id_number", "name"], ["capital"], ["spouse"])
    assert found.credentials == ["apiKey header X-Key"]
    assert found.title == "婚姻登记"
    assert single.connection is None
    assert [why.en for why in single.hindrances] == [
        "the path has parameters: it answers for one record only",
        "the declared answer is no list of records",
    ]


def test_fields_that_are_written_otherwise_are_mapped_to_their_items() -> None:
    told = document()
    record: dict[str, Any] = {
        "properties": {"idNumber": {}, "id_number_old": {}, "姓名": {}, "ID-NUMBER": {}, "capital": {}}
    }
    told["components"]["schemas"]["Marriage"] = record
    found = first(propose(told, ITEMS))
    assert found.connection is not None
    assert found.connection.columns == {"id_number": "idNumber", "name": "姓名"}
    assert (found.carried, found.missing) == (["id_number", "name", "capital"], [])
    assert found.beyond == ["id_number_old", "ID-NUMBER"]
    record["properties"]["id_number"] = {}
    exact = first(propose(told, ITEMS))
    assert exact.connection is not None and exact.connection.columns == {"name": "姓名"}


def test_swagger_2_as_java_frameworks_write_it() -> None:
    old = {
        "swagger": "2.0",
        "host": "10.20.1.5:8080",
        "basePath": "/",
        "schemes": ["http"],
        "definitions": {"R": RECORD},
        "paths": {
            "/list": {
                "get": {
                    "produces": ["*/*"],
                    "parameters": [{"name": "page", "in": "query", "type": "integer", "default": 1}],
                    "responses": {"200": {"schema": {"type": "array", "items": {"$ref": "#/definitions/R"}}}},
                }
            }
        },
    }
    found = first(propose(old, ITEMS))
    assert found.connection is not None
    assert found.connection.url == "http://10.20.1.5:8080/list"
    assert found.connection.records_path is None
    assert found.connection.page_parameter == "page"


def test_what_nobody_can_fill_and_a_missing_server_are_told() -> None:
    told = document(servers=[])
    told["paths"]["/marriages"]["get"]["parameters"].append(
        {"name": "ticket", "in": "query", "required": True}
    )
    found = first(propose(told, ITEMS))
    assert found.connection is None
    assert [why.zh for why in found.hindrances] == [
        "必填参数 ticket 不知如何取值",
        "文档未写明服务器地址，请给出 address",
    ]
    served = first(propose(document(servers=[{"url": "/v2"}]), ITEMS, "https://civil.example/v3/api-docs"))
    assert served.connection is not None
    assert served.connection.url == "https://civil.example/v2/marriages"


@pytest.mark.parametrize("other", [{}, {"openapi": "4.0", "paths": {}}, {"openapi": "3.1.0", "paths": []}])
def test_another_document_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        propose(other, ITEMS)
    assert refused.value.faults[0].field == "/document"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["#/paths", "#", "https://["]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["$ref", "get", "parameters", "name", "in", "schema", "responses", "200", "content", "application/json",
             "items", "properties", "allOf", "servers", "url", "variables", "security", "components", "securitySchemes",
             "/a", "schemes", "host", "produces", "required"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


@given(
    st.dictionaries(st.text(max_size=3), anything, max_size=3),
    anything,
    st.sampled_from(["openapi", "swagger"]),
)
def test_no_document_breaks_it(paths: dict[str, Any], rest: Any, kind: str) -> None:
    more = rest if isinstance(rest, dict) else {"components": rest, "servers": rest, "schemes": rest}
    told = {**more, kind: "3.0.0", "paths": {**paths, "/x": {"get": rest, "parameters": rest}}}
    for proposal in propose(told, ITEMS):
        assert (proposal.connection is None) == bool(proposal.hindrances)


def test_a_proposal_is_a_source_that_can_be_registered(world: World) -> None:
    path = f"/resources/{world.publish()}/source"
    body = {"document": document()}
    read = world.call("POST", f"{path}/proposals", "civil", Role.CLERK, body=body)
    proposed = read["proposals"][0]
    assert proposed["carried"] == ["name", "id_number"]
    world.call("GET", path, "civil", Role.CLERK, expect=404)  # nothing is registered by that
    told = world.call("PUT", path, "civil", Role.CLERK, body=proposed["connection"])
    assert told["connection"] == proposed["connection"]
    world.call("POST", f"{path}/proposals", "health", Role.CLERK, body=body, expect=404)
