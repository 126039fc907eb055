"""A JSON Schema (drafts 4 to 2020-12) read as a plan: every property that holds a value is an item.

Follows references within the document only; depth and number of nodes are limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.kernel.text import Text
from catalog.collection.reading.described import Described
from catalog.formats.reading import FileRefused
from catalog.resources.codes import DataType
from catalog.text import is_han

_DEPTH, _NODES = 20, 5_000
_TYPES = {
    "string": DataType.CHARACTER, "integer": DataType.INTEGER, "number": DataType.NUMERIC,
    "boolean": DataType.LOGICAL,
}  # fmt: skip
_FORMATS = {"date": DataType.DATE, "date-time": DataType.DATETIME}
_ELSEWHERE = Text("引用了文档之外的定义，未读取", "refers to a definition outside the document")
_TOO_DEEP = Text("嵌套过深或自我引用，未读取", "nested too deep, or in itself")

Node = Mapping[str, Any]


def read_json_schema(document: object) -> Described:
    """The schema's items in its order. Errors: FileRefused where it has no properties."""
    if not isinstance(document, dict):
        raise FileRefused(Text("不是 JSON Schema。", "Not a JSON Schema."))
    reader = _Reader(document)
    title = document.get("title")
    reader.found.title = title if isinstance(title, str) else ""
    reader.walk(document, "", 0)
    if not reader.found.items:
        raise FileRefused(Text("JSON Schema 中没有属性。", "The JSON Schema has no properties."))
    return reader.found


class _Reader:
    def __init__(self, document: Node) -> None:
        self.document, self.found, self.nodes = document, Described(""), 0

    def walk(self, node: Node, within: str, depth: int) -> None:
        """The properties of an object, or of the objects in an array; `within` is what the object is called."""
        self.nodes += 1
        if depth > _DEPTH or self.nodes > _NODES:
            self.found.leave_out(within or "#", _TOO_DEEP)
            return
        node = self.resolved(node, within)
        for part in _nodes(node.get("allOf")):
            self.walk(part, within, depth + 1)
        items = node.get("items")
        if isinstance(items, dict):
            self.walk(items, within, depth + 1)
        properties = node.get("properties")
        for name, sub in properties.items() if isinstance(properties, dict) else ():
            if isinstance(sub, dict):
                self.take(str(name), self.resolved(sub, str(name)), within, depth)

    def take(self, name: str, node: Node, within: str, depth: int) -> None:
        label = node["title"] if isinstance(node.get("title"), str) else ""
        of_array = node.get("items")
        inner = self.resolved(of_array if isinstance(of_array, dict) else {}, name)
        if any("properties" in n or "allOf" in n for n in (node, inner)):
            called = label or name
            self.walk(node, _joined(within, called), depth + 1)
            return
        value = inner or node
        kind = _kind(value)
        length = value.get("maxLength")
        explained = node.get("description")
        self.found.add(
            name, _joined(within, label or name) if within or label else "",
            explained=explained if isinstance(explained, str) else "",
            data_type=_FORMATS.get(str(value.get("format"))) or _TYPES.get(kind),
            length=length if isinstance(length, int) else None, codes=_codes(value),
        )  # fmt: skip

    def resolved(self, node: Node, called: str) -> Node:
        """The node that a local reference names, through any number of references."""
        for _ in range(_DEPTH):
            reference = node.get("$ref")
            if not isinstance(reference, str):
                return node
            found: Any = self.document if reference.startswith("#") else None
            for part in reference.lstrip("#").strip("/").split("/") if reference != "#" else ():
                key = part.replace("~1", "/").replace("~0", "~")
                found = found.get(key) if isinstance(found, dict) else None
            if not isinstance(found, dict):
                self.found.leave_out(called or reference, _ELSEWHERE)
                return {}
            node = {**found, **{k: v for k, v in node.items() if k != "$ref"}}
        return {}


def _nodes(value: object) -> list[Node]:
    return [node for node in value if isinstance(node, dict)] if isinstance(value, list) else []


def _kind(node: Node) -> str:
    kinds = node.get("type")
    several = kinds if isinstance(kinds, list) else [kinds]
    return next((str(kind) for kind in several if kind != "null"), "")


def _codes(node: Node) -> list[str]:
    values = node.get("enum")
    listed = [str(v) for v in values if v is not None] if isinstance(values, list) else []
    for choice in (*_nodes(node.get("oneOf")), *_nodes(node.get("anyOf"))):
        if "const" in choice:
            listed.append(f"{choice['const']} {choice.get('title', '')}".strip())
    return listed


def _joined(within: str, name: str) -> str:
    if not within:
        return name
    return f"{within}{name}" if is_han(within[-1]) and name and is_han(name[0]) else f"{within} {name}"
