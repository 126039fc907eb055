"""A provider's own OpenAPI document (2.0, 3.0, 3.1), read as proposals for the source of a resource.

Pure: owns what in a declaration means pages, items and records. Refuses to guess: what a proposal lacks is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from exchange.delivery.providers import HttpConnection, url_faults

MOST = 50  # proposals that are told
DEPTH = 4  # members deep that records are looked for
FIELDS = 500  # of a record that are looked at
_PAGE = {"page", "pageno", "pagenum", "pagenumber", "pageindex", "current", "currentpage", "页码", "页号"}
_SIZE = {"size", "pagesize", "limit", "perpage", "rows", "pagecount", "每页条数"}
_FORMATS = (("json", "json"), ("application/x-ndjson", "ndjson"), ("xml", "xml"), ("*/*", "json"))

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One operation as a source. `carried` are the items that its records have, `missing` those that they lack,
    `beyond` their fields that no item names: those never pass. `credentials` says in the document's words what the
    provider asks for. Without a `connection` the `hindrances` say why."""

    operation: str  # `GET /marriages`
    title: str | None
    connection: HttpConnection | None
    carried: list[str]
    missing: list[str]
    beyond: list[str]
    credentials: list[str]
    hindrances: list[Text]


@dataclass(slots=True)
class _Query:
    """What the query parameters of an operation are for."""

    page: str | None = None
    first_page: int = 1
    size: str | None = None
    page_size: int = 200
    by_item: dict[str, str] = field(default_factory=dict)
    unfilled: list[str] = field(default_factory=list)  # required, and nobody knows with what


def propose(document: Node, items: Mapping[str, str], address: str | None = None) -> list[Proposal]:
    """What a document's GET operations would be as the source of a resource with these items (code → name), those that
    carry most of them first. `address` is where the document was found, or stands in for the server it names.
    Errors: Invalid."""
    version = str(document.get("openapi", document.get("swagger", "")))
    paths = document.get("paths")
    if not version.startswith(("2.", "3.")) or not isinstance(paths, Mapping):
        message = Text("不是 OpenAPI 文档", "not an OpenAPI document")
        rule = Text("OpenAPI 2.0、3.0 或 3.1，JSON 对象", "OpenAPI 2.0, 3.0 or 3.1 as a JSON object")
        raise Invalid(faults=[Fault("/document", message, rule)])
    if address is not None and (faults := url_faults("/address", address, private=True)):
        raise Invalid(faults=faults)
    reader = _Reader(document, items, address)
    proposals = [
        reader.proposal(str(path), node, operation)
        for path, node in paths.items()
        if isinstance(node, Mapping) and isinstance(operation := node.get("get"), Mapping)
    ]
    proposals.sort(key=lambda p: (p.connection is None, -len(p.carried), p.operation))
    return proposals[:MOST]


class _Reader:
    """Reads one document for one resource."""

    def __init__(self, document: Node, items: Mapping[str, str], address: str | None) -> None:
        self._document = document
        self._codes = list(items)
        self._code_of = {_fold(name): code for code, name in items.items()} | {
            _fold(code): code for code in items
        }
        self._address = address

    def proposal(self, path: str, node: Node, operation: Node) -> Proposal:
        hindrances: list[Text] = []
        if "{" in path:
            message = "路径含参数，不能整表取数", "the path has parameters: it answers for one record only"
            hindrances.append(Text(*message))
        query = self._query(node, operation)
        hindrances += [
            Text("必填参数 {p} 不知如何取值", "nothing fills the required parameter {p}").with_(p=name)
            for name in query.unfilled
        ]
        form, records_path, fields = self._answer(operation)
        field_of = self._field_of(fields or ())
        if fields is None:
            hindrances.append(Text("所声明的响应不是记录列表", "the declared answer is no list of records"))
        url, connection = self._url(path, node, operation), None
        if url_faults("/document", url, private=True):
            told = Text(
                "文档未写明服务器地址，请给出 address",
                "the document names no usable server: give its address",
            )
            hindrances.append(told)
        if not hindrances:
            try:
                connection = HttpConnection(
                    url=url, records_path=records_path, page_parameter=query.page,
                    size_parameter=query.size, page_size=query.page_size, first_page=query.first_page,
                    parameters=query.by_item, format=form,
                    columns={code: name for code, name in field_of.items() if name != code},
                )  # fmt: skip
            except ValidationError as error:
                told = Text("声明不可用：{e}", "the declaration cannot be used: {e}")
                hindrances.append(told.with_(e=", ".join(str(e["loc"][0]) for e in error.errors())))
        title = operation.get("summary") or operation.get("operationId")
        return Proposal(
            operation=f"GET {path}", title=str(title)[:200] if title else None, connection=connection,
            carried=[code for code in self._codes if code in field_of],
            missing=[code for code in self._codes if code not in field_of],
            beyond=[name for name in fields or () if name not in field_of.values()],
            credentials=self._credentials(operation), hindrances=hindrances,
        )  # fmt: skip

    def _query(self, node: Node, operation: Node) -> _Query:
        query = _Query()
        declared = {
            str(parameter.get("name")): parameter
            for place in (node, operation)
            for parameter in self._nodes(place.get("parameters"))
            if parameter.get("in") == "query"
        }
        for name, parameter in declared.items():
            schema = self._resolved(parameter.get("schema")) or parameter  # 2.0 has no schema of its own
            folded = _fold(name)
            if folded in _PAGE and query.page is None:
                first = schema.get("default", schema.get("minimum", 1))
                query.page, query.first_page = name, 0 if first == 0 else 1
            elif folded in _SIZE and query.size is None:
                sizes = [schema.get(bound) for bound in ("maximum", "default")]
                known = [size for size in sizes if type(size) is int and size > 0]
                query.size, query.page_size = name, min(known[0], 1000) if known else query.page_size
            elif folded in self._code_of and self._code_of[folded] not in query.by_item:
                query.by_item[self._code_of[folded]] = name
            elif parameter.get("required") is True and "default" not in schema:
                query.unfilled.append(name)
        if query.page is None:
            query.size, query.page_size = None, _Query().page_size
        return query

    def _answer(self, operation: Node) -> tuple[Any, str | None, list[str] | None]:
        """How the answer is written, the path to its records, and their fields; None where it has no records."""
        responses = operation.get("responses")
        if not isinstance(responses, Mapping):
            return "json", None, None
        good = next((responses[c] for c in ("200", 200, "2XX", "default") if c in responses), None)
        response = self._resolved(good) or {}
        content = response.get("content")
        if not isinstance(content, Mapping):  # 2.0
            produces = operation.get("produces", self._document.get("produces")) or ["application/json"]
            content = {str(kind): response for kind in produces} if isinstance(produces, list) else {}
        for kind, form in _FORMATS:
            media = next((self._resolved(content[name]) for name in content if kind in str(name)), None)
            if media is not None:
                schema = self._schema(media.get("schema"))
                if form == "ndjson" and schema.get("type") != "array":
                    return form, None, self._fields(schema)
                best = max(self._lists(schema, (), DEPTH), key=self._fitting, default=None)
                if best is not None:
                    return form, "/".join(best[0]) or None, best[1]
        return "json", None, None

    def _lists(
        self, schema: Node, path: tuple[str, ...], depth: int
    ) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """Every list of objects in an answer, with the names that lead to it."""
        if "items" in schema:
            record = self._schema(schema["items"])
            if isinstance(record.get("properties"), Mapping):
                yield path, self._fields(record) or []
        elif depth:
            for name, inner in self._properties(schema):
                if "/" not in name:
                    yield from self._lists(self._schema(inner), (*path, name), depth - 1)

    def _field_of(self, fields: Iterable[str]) -> dict[str, str]:
        """The field of each item that has one: of its code, else of its code or name as the provider writes it."""
        exact = {name: name for name in fields if name in self._codes}
        alike: dict[str, str] = {}
        for name in fields:
            if name not in exact and (code := self._code_of.get(_fold(name))) is not None:
                alike.setdefault(code, name)
        return alike | exact

    def _fitting(self, found: tuple[tuple[str, ...], list[str]]) -> tuple[int, int]:
        path, fields = found
        return len(self._field_of(fields)), -len(path)

    def _fields(self, record: Node) -> list[str] | None:
        return [name for name, _ in self._properties(record)] or None

    def _properties(self, schema: Node) -> list[tuple[str, Any]]:
        properties = schema.get("properties")
        found = properties.items() if isinstance(properties, Mapping) else ()
        return [(str(name), inner) for name, inner in found][:FIELDS]

    def _schema(self, node: object) -> Node:
        """A schema with what it is put together from (`allOf`) beside its own properties."""
        schema = self._resolved(node) or {}
        parts = self._nodes(schema.get("allOf"))
        if not parts:
            return schema
        properties: dict[str, Any] = {}
        for part in (*parts, schema):
            properties |= dict(self._properties(part))
        return {**schema, "properties": properties}

    def _nodes(self, nodes: object) -> list[Node]:
        return [found for node in nodes if (found := self._resolved(node))] if isinstance(nodes, list) else []

    def _resolved(self, node: object) -> Node | None:
        """The node, or what its reference within the document leads to."""
        for _ in range(DEPTH):
            if not isinstance(node, Mapping):
                return None
            reference = node.get("$ref")
            if not isinstance(reference, str):
                return node
            if not reference.startswith("#/"):
                return None
            node = self._document
            for step in reference[2:].split("/"):
                node = (
                    node.get(step.replace("~1", "/").replace("~0", "~"))
                    if isinstance(node, Mapping)
                    else None
                )
        return None

    def _url(self, path: str, node: Node, operation: Node) -> str:
        if "swagger" in self._document:
            schemes = self._document.get("schemes")
            scheme = schemes[0] if isinstance(schemes, list) and schemes else "https"
            host = self._document.get("host")
            server = f"{scheme}://{host}" if host else ""
            server += str(self._document.get("basePath") or "")
        else:
            places = (operation, node, self._document)
            named = [server for place in places for server in self._nodes(place.get("servers"))]
            server = str(named[0].get("url") or "") if named else ""
            variables = named[0].get("variables") if named else None
            for name, variable in variables.items() if isinstance(variables, Mapping) else ():
                default = (self._resolved(variable) or {}).get("default", "")
                server = server.replace(f"{{{name}}}", str(default))
        if self._address is not None and "://" not in server:
            given = urlsplit(self._address)
            server = f"{given.scheme}://{given.netloc}/{server.lstrip('/')}"
        return server.rstrip("/") + path

    def _credentials(self, operation: Node) -> list[str]:
        components = self._document.get("components")
        place = components if isinstance(components, Mapping) else {}
        schemes = place.get("securitySchemes", self._document.get("securityDefinitions"))
        asked = operation.get("security", self._document.get("security"))
        named = {str(name) for need in self._nodes(asked) for name in need}
        told = []
        for name, node in schemes.items() if isinstance(schemes, Mapping) else ():
            scheme = self._resolved(node)
            if name in named and scheme is not None:
                more = (scheme.get("scheme"), scheme.get("in"), scheme.get("name"))
                told.append(" ".join(str(part) for part in (scheme.get("type"), *more) if part)[:200])
        return told


def _fold(name: str) -> str:
    """`ID_Number`, `idNumber` and `id-number` are one."""
    return re.sub(r"[\W_]", "", name).lower()
