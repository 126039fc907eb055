"""What cannot be read, does not hold or is not theirs: each gets its problem, and leaves the database as it was."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from app.kernel import clock
from app.kernel.actor import Role, Scope
from app.kernel.db import Database
from app.kernel.http import BODY_LIMIT_BYTES, UPLOAD_LIMIT_BYTES
from app.kernel.keys import ServiceKeys
from app.kernel.wire import encode_cursor
from app.tables import metadata
from tests.catalog.sheets import ITEM, RESOURCE, workbook
from tests.catalog.test_imports import table
from tests.delivery.systems import system
from tests.estate import estate_on
from tests.estate_calls import ROUTES, address
from tests.exchange.world import START
from tests.stage import ROWS, Stage

Key = tuple[str, str]
WRITES = [key for key in ROWS if (ROUTES[key[0]].methods or set()) & {"POST", "PUT"}]
READS = [key for key in ROWS if ROUTES[key[0]].methods == {"GET"}]


@pytest.fixture(scope="module")
def stage(
    shared_database: Database, keys: ServiceKeys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with estate_on(shared_database, keys, tmp_path_factory.mktemp("data")) as estate:
        yield Stage(estate)


def everything(stage: Stage) -> dict[str, tuple[int, int]]:
    """How many rows each table has, and a sum over their contents."""
    session = stage.estate.world.session
    session.flush()
    queries = [
        f"SELECT '{name}', count(*), coalesce(sum(hashtext(t::text)), 0)::bigint FROM {name} AS t"
        for name in (
            {*metadata.tables, "procrastinate_jobs"} - {"personal_read"}
        )  # a read leaves its trace there
    ]
    rows = session.execute(text(" UNION ALL ".join(queries))).all()
    session.commit()
    return {row[0]: (row[1], row[2]) for row in rows}


def strings_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the texts of a JSON value stand."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict | list):
        for place, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from strings_in(inner, (*path, place))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of the JSON value with `new` at the place."""
    changed = deepcopy(value)
    inner = changed
    for place in path[:-1]:
        inner = inner[place]
    inner[path[-1]] = new
    return changed


@contextmanager
def nothing_changes(stage: Stage) -> Iterator[None]:
    """Whatever is sent within leaves every row of every table as it is."""
    before = everything(stage)
    yield
    after = everything(stage)
    assert after == before, {name for name in before if before[name] != after[name]}


def refused(
    stage: Stage, key: Key, status: int, slug: str | None = None, *, field: str | None = None, **changes: Any
) -> dict[str, Any]:
    """The problem that the call with `changes` gets in both languages, from one who may make it; nothing changes."""
    call = stage.estate.request(key, changes.pop("call", None))
    call |= {"headers": call["headers"] | stage.credential(key) | changes.pop("headers", {})}
    for taken in {"json", "data", "files"} if {"json", "content", "data", "files"} & changes.keys() else ():
        call.pop(taken, None)
    told = {}
    with nothing_changes(stage):
        for language in ("zh-CN", "en"):
            call["headers"] = {**call["headers"], "accept-language": language}
            answer = stage.estate.world.client.request(**{**call, **changes})
            assert answer.status_code == status, f"{answer.status_code} {answer.text}"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["content-language"] == language
            told[language] = answer.json()
    for problem in told.values():
        assert problem["status"] == status
        assert problem["type"] == f"/problems/{slug or 'invalid'}"
        if field is not None:
            assert field in [fault["field"] for fault in problem["errors"]]
    chinese, english = told["zh-CN"], told["en"]
    assert chinese["title"] != english["title"] and chinese["detail"] != english["detail"]
    assert [f["message"].isascii() for f in chinese.get("errors", [])] == [False] * len(
        chinese.get("errors", [])
    )
    return dict(english)


JSON = {"content-type": "application/json"}
DRAFT: Key = ("request.draft", "-")


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"", b"{\"title\": ", b"nonsense", b"\xff\xfe\x00", b"[" * 100_000, b"{\"a\":" * 100_000,
        b"{\"title\": NaN", "{'title': 1}".encode("utf-16"),
    ],
    ids=lambda content: repr(content[:12]),
)  # fmt: skip
def test_what_is_no_json(stage: Stage, content: bytes) -> None:
    if content:
        refused(stage, DRAFT, 400, "malformed-body", content=content, headers=JSON)
    else:
        refused(stage, DRAFT, 422, content=content, headers=JSON, field="/")


def test_json_under_another_name(stage: Stage) -> None:
    body = json.dumps(stage.estate.calls[DRAFT].body)
    refused(stage, DRAFT, 422, content=body, headers={"content-type": "text/plain"}, field="/")


@pytest.mark.parametrize(
    ("place", "value", "field"),
    [
        (("title",), 7, "/title"),
        (("title",), None, "/title"),
        (("title",), "题" * 257, "/title"),
        (("title",), "核验\x00", "/title"),
        (("titel",), "x", "/titel"),
        (("terms",), [], "/terms"),
        (("terms", "method"), "telepathy", "/terms/method"),
        (("terms", "valid_from"), "2026-02-30", "/terms/valid_from"),
        (("terms", "valid_from"), "0", "/terms/valid_from"),
        (("terms", "valid_from"), 0, "/terms/valid_from"),
        (("terms", "valid_from"), "2026-03-01T00:00:00Z", "/terms/valid_from"),
        (("terms", "retention_days"), False, "/terms/retention_days"),
        (("terms", "retention_days"), 10**30, "/terms/retention_days"),
        (("terms", "retention_days"), 1.5, "/terms/retention_days"),
        (("terms", "quota", "calls_per_day"), -1, "/terms/quota/calls_per_day"),
        (("terms", "resources"), [], "/terms/resources"),
        (("terms", "resources", 0, "resource_id"), "1", "/terms/resources/0/resource_id"),
        (("terms", "purposes", 0, "text"), "\ud800", "/terms/purposes/0/text"),
        # What can be read and does not hold.
        (("terms", "resources", 0, "items", 0, "code"), "salary", "/terms/resources/0/items/0/code"),
        (("terms", "resources", 0, "scope"), "registered_on >", "/terms/resources/0/scope"),
        (("terms", "resources", 0, "scope"), "salary > 5", "/terms/resources/0/scope"),
        (("terms", "resources", 0, "scope"), "name = '\x00'", "/terms/resources/0/scope"),
        (("terms", "resources", 0, "scope"), "(" * 5000 + ")" * 5000, "/terms/resources/0/scope"),
        (("terms", "valid_until"), "2026-01-01", "/terms/valid_until"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
def test_what_cannot_be_a_request(stage: Stage, place: tuple[Any, ...], value: Any, field: str) -> None:
    content = json.dumps(put(stage.estate.calls[DRAFT].body, place, value))
    refused(stage, DRAFT, 422, content=content, headers=JSON, field=field)


@pytest.mark.parametrize("key", WRITES, ids=" on ".join)
def test_no_body_breaks_the_service(stage: Stage, key: Key) -> None:
    """Malformed, of the wrong shape, empty, with characters in each of its texts that cannot be stored."""
    call = stage.estate.calls[key]
    sent = [b"{", b"null", b"[]", b"{}", b'"x"', b"0", b'{"\\u0000": "\\u0000"}']
    for place, unstorable in product(strings_in(call.body), ("\x00", "\ud800")):
        sent.append(json.dumps(put(call.body, place, f"坏{unstorable}")).encode())
    plain = stage.estate.request(key, headers=stage.credential(key) | JSON)
    plain = {name: plain[name] for name in ("method", "url", "params", "headers")}
    with nothing_changes(stage):
        for content in sent:
            with stage.connection.begin_nested() as before:
                answer = stage.estate.world.client.request(**plain, content=content)
                assert answer.status_code < 500, f"{content[:80]!r}: {answer.text}"
                if answer.status_code < 400:  # an empty object may be all that is asked for
                    before.rollback()


@pytest.mark.parametrize("key", READS, ids=" on ".join)
def test_no_query_breaks_the_service(stage: Stage, key: Key) -> None:
    credential = stage.credential(key)
    call = stage.estate.request(key, headers=credential)
    with nothing_changes(stage):
        for name, value in product(
            parameters_of(stage, key[0]), ("坏\x00", "9" * 40, "\ud800", "-1", "[", "")
        ):
            query = call["params"] | {name: value.encode("utf-8", "surrogatepass")}
            answer = stage.estate.world.client.request(**call | {"params": query})
            assert answer.status_code < 500, f"{name}={value!r}: {answer.text}"


def parameters_of(stage: Stage, operation: str) -> list[str]:
    """The names of the query parameters that an operation declares."""
    declared = [
        described
        for methods in stage.app.openapi()["paths"].values()
        for described in methods.values()
        if described["operationId"] == operation
    ]
    return [p["name"] for one in declared for p in one.get("parameters", []) if p["in"] == "query"]


# --- Who asks, and what for


def test_a_token_that_has_run_out(stage: Stage) -> None:
    puller = system(stage.estate.world, "health", Scope.CATALOG)
    headers = puller.headers()
    with clock.frozen(START + timedelta(minutes=4, seconds=59)):
        assert stage.estate.world.client.get("/api/v1/agencies", headers=headers).status_code == 200
    with clock.frozen(START + timedelta(minutes=5)):
        refused(stage, ("agency.list", "-"), 401, "not-signed-in", headers=headers)


def test_someone_elses_agreement(stage: Stage) -> None:
    world, key = stage.estate.world, ("agreement.suspend", "in force")
    for agency in ("market", "east_authority"):
        refused(stage, key, 404, "not-found", headers=world.headers(agency, Role.APPROVER))
    stranger = system(world, "market", Scope.PULL).headers()
    refused(stage, ("grant.issue", "in force"), 404, "not-found", headers=stranger)


@pytest.mark.parametrize(
    ("version", "status", "slug"),
    [
        (None, 428, "version-missing"),
        ("x", 422, "invalid"),
        ('"1", "2"', 422, "invalid"),
        ("9" * 30, 422, "invalid"),
        ("٣", 422, "invalid"),
        ('"999"', 412, "stale-version"),
    ],
)
def test_the_version_that_was_read(stage: Stage, version: str | None, status: int, slug: str) -> None:
    key = ("agreement.suspend", "in force")
    call = replace(stage.estate.calls[key], version=None)
    headers = {} if version is None else {"If-Match": version.encode()}
    refused(stage, key, status, slug, call=call, headers=headers)


def test_a_day_in_an_address_is_written_as_a_day(stage: Stage) -> None:
    for day in ("0", "1767225600", "2026-3-1"):
        refused(stage, ("agreement.list", "-"), 422, params={"ends_by": day}, field="/query/ends_by")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "AAAA",
        encode_cursor("990100"),
        encode_cursor(5),
        encode_cursor([[]]),
        encode_cursor(1, 2),
        "\x00",
    ],
)
@pytest.mark.parametrize(
    "operation",
    [
        "negotiation.list",
        "request.list",
        "resource.list",
        "plan.list",
        "finding.list",
        "dispute.list",
        "agency.list",
    ],
)
def test_a_cursor_of_another_list(stage: Stage, operation: str, cursor: str) -> None:
    refused(stage, (operation, "-"), 422, params={"cursor": cursor}, field="/cursor")


# --- Files and floods


FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x.csv"\r\n\r\n'


@pytest.mark.parametrize(
    ("key", "limit", "begun", "media_type"),
    [
        (DRAFT, BODY_LIMIT_BYTES, b"[", "application/json"),
        (("import.submit", "draft"), UPLOAD_LIMIT_BYTES, FORM, "multipart/form-data; boundary=x"),
    ],
    ids=["JSON", "a file"],
)
def test_200_megabytes_are_refused_before_they_are_read(
    stage: Stage, key: Key, limit: int, begun: bytes, media_type: str
) -> None:
    taken = 0

    async def flood() -> AsyncIterator[bytes]:
        nonlocal taken
        yield begun
        for _ in range(200):
            taken += 1 << 20
            yield b" " * (1 << 20)

    async def answer() -> httpx2.Response:
        method, url = address(key[0])
        headers = stage.credential(key) | {"content-type": media_type}
        async with stage.caller() as client:
            return await client.request(method, url, headers=headers, content=flood())

    with nothing_changes(stage):
        answered = asyncio.run(answer())
    assert (answered.status_code, answered.json()["type"]) == (413, "/problems/too-large")
    assert limit - (1 << 20) < taken <= limit + (1 << 20)


def test_a_body_that_says_how_large_it_is_is_not_read_at_all(stage: Stage) -> None:
    refused(stage, DRAFT, 413, "too-large", content=b"{}", headers=JSON | {"content-length": str(200 << 20)})


def packed(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/") + ".xml", data)
    return content.getvalue()


def with_entity() -> bytes:
    """A good workbook whose sheet asks for a file of the machine."""
    content = io.BytesIO()
    with zipfile.ZipFile(workbook(RESOURCE, ITEM)) as good, zipfile.ZipFile(content, "w") as archive:
        for name in good.namelist():
            data = good.read(name)
            if name == "xl/worksheets/sheet1.xml":
                data = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + data
            archive.writestr(name, data)
    return content.getvalue()


FILES: dict[str, tuple[bytes, int, str]] = {
    "a zip bomb": (
        packed(xl__workbook=b"<workbook/>", xl__worksheets__sheet1=bytes(64 << 20)), 413, "file-too-large",
    ),
    "an external entity": (with_entity(), 422, "file-refused"),
    "bytes of no encoding": (b"\xff\xfe\xff" * 200, 422, "file-refused"),
    "another encoding than it says": (table({}).getvalue()[:-40] + b"\xff\xff\xff\n", 422, "file-refused"),
    "nothing": (b"", 422, "file-refused"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(500), 422, "file-refused"),
    "half a workbook": (workbook(RESOURCE, ITEM).getvalue()[:3000], 422, "file-refused"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_come_in(stage: Stage, name: str) -> None:
    content, status, slug = FILES[name]
    sent: dict[str, Any] = {
        "files": {"file": ("目录.csv", content)},
        "data": {"mapping": "taoyuan", "as": "draft"},
    }
    refused(stage, ("import.submit", "draft"), status, slug, **sent)


def test_an_import_names_what_it_lacks(stage: Stage) -> None:
    key = ("import.submit", "draft")
    refused(stage, key, 422, data={"as": "draft"}, field="/file")
    files = {"file": ("目录.xlsx", workbook(RESOURCE, ITEM).getvalue())}
    refused(stage, key, 422, data={"as": "gone"}, files=files, field="/as")
    refused(stage, key, 422, files={"file": ("目录.csv", table({}).getvalue())}, field="/mapping")
