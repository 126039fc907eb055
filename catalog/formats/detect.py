"""Which format a file is in, told by its content, never by its name; and its rows, read by the right reader."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, NoReturn

from pydantic import JsonValue

from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from catalog.formats.ckan import MARK, read_ckan
from catalog.formats.csv_ import read_csv, read_own_csv
from catalog.formats.dcat_ap import read_dcat_ap
from catalog.formats.dcat_us import is_version_3, read_dcat_us
from catalog.formats.mapping import ColumnMapping
from catalog.formats.reading import UPLOAD_LIMIT_BYTES, FileRefused, FileTooLarge, Row
from catalog.formats.workbook import read_workbook

HEAD_BYTES = 4096


class SourceFormat(StrEnum):
    """The formats an import reads."""

    WORKBOOK = "workbook"
    TABLE = "table"  # CSV in the template's columns
    CSV = "csv"  # CSV through a column mapping
    DCAT_US = "dcat-us"
    DCAT_US_3 = "dcat-us-3"
    DCAT_AP = "dcat-ap"
    CKAN = "ckan"  # as a harvest writes it


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read. `rows` reads it while it is iterated; it may still raise FileRefused."""

    format: SourceFormat
    rows: Iterator[Row]


_FOREIGN: tuple[tuple[bytes, Text], ...] = (
    (b"\xd0\xcf\x11\xe0", Text("旧版 xls 或加密的工作簿，请另存为未加密的 xlsx", "an old xls or an encrypted workbook: save it as a plain xlsx")),
    (b"%PDF", Text("PDF 文件，请提供表格文件", "a PDF: send the table itself")),
    (b"\x1f\x8b", Text("压缩文件，请先解压", "a compressed file: unpack it first")),
    (b"7z\xbc\xaf", Text("压缩文件，请先解压", "a compressed file: unpack it first")),
    (b"Rar!", Text("压缩文件，请先解压", "a compressed file: unpack it first")),
)  # fmt: skip
_XML_OF_OTHERS = Text("网页或不是 RDF 的 XML", "a web page, or XML that is not RDF")
_TURTLE = re.compile(rb"^\s*(@prefix|@base|prefix|base)\s+[^,]*<", re.IGNORECASE | re.MULTILINE)


def open_source(
    stream: BinaryIO,
    *,
    mapping: ColumnMapping | None = None,
    encoding: str | None = None,
    for_filing: bool = False,
) -> Source:
    """The rows of a file (seekable). `mapping` and `encoding` are for CSV; `for_filing` holds rows in the
    template's columns to what filing demands, which catalogs of others do not know.

    Errors: FileRefused, FileTooLarge, Invalid where a CSV needs a mapping.
    """
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    if head.startswith(b"PK\x03\x04"):
        return Source(SourceFormat.WORKBOOK, read_workbook(stream, for_filing=for_filing))
    body = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not body:
        raise FileRefused(Text("文件是空的。", "The file is empty."))
    for magic, what in _FOREIGN:
        if body.startswith(magic):
            raise _refused(what)
    if body[:1] in (b"{", b"["):
        return _json(stream)
    if _TURTLE.search(body) or re.match(rb"<(https?|urn):", body):
        return Source(SourceFormat.DCAT_AP, read_dcat_ap(stream, "turtle"))
    if body.startswith(b"<"):
        if b"http://www.w3.org/1999/02/22-rdf-syntax-ns#" not in body:
            raise _refused(_XML_OF_OTHERS)
        return Source(SourceFormat.DCAT_AP, read_dcat_ap(stream, "xml"))
    if b"\x00" in head and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileRefused(
            Text("不是表格、JSON、RDF 或工作簿文件。", "Neither a table nor JSON nor RDF nor a workbook.")
        )
    if mapping is not None:
        return Source(SourceFormat.CSV, read_csv(stream, mapping, encoding))
    rows = read_own_csv(stream, encoding, for_filing=for_filing)
    if rows is None:
        message = Text(
            "CSV 文件须用模板的列，或指明列映射",
            "a CSV file has the template's columns, or needs a column mapping",
        )
        raise Invalid(faults=[Fault("/mapping", message)])
    return Source(SourceFormat.TABLE, rows)


def _refused(what: Text) -> FileRefused:
    return FileRefused(Text("无法导入：{what}。", "Cannot be imported: {what}.").with_(what=what))


def _json(stream: BinaryIO) -> Source:
    """JSON has no rows, so it is read whole; UPLOAD_LIMIT_BYTES bounds it."""
    data = stream.read(UPLOAD_LIMIT_BYTES + 1)
    if len(data) > UPLOAD_LIMIT_BYTES:
        raise FileTooLarge()
    try:
        document: JsonValue = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        message = Text("不是合法的 JSON：{error}。", "Not valid JSON: {error}.").with_(error=str(error)[:200])
        raise FileRefused(message) from error
    if isinstance(document, dict) and isinstance(document.get("dataset"), list):
        kind = SourceFormat.DCAT_US_3 if is_version_3(document) else SourceFormat.DCAT_US
        return Source(kind, read_dcat_us(document))
    if isinstance(document, dict) and MARK in document and isinstance(document.get("packages"), list):
        return Source(SourceFormat.CKAN, read_ckan(document))
    marks = {"@context", "@graph", "@id", "@type"}
    first = document[0] if isinstance(document, list) and document else document
    if isinstance(first, dict) and marks & first.keys():
        stream.seek(0)
        return Source(SourceFormat.DCAT_AP, read_dcat_ap(stream, "json-ld", document))
    raise FileRefused(
        Text(
            "JSON 中没有 dataset 数组，也不是 JSON-LD，不是 DCAT 目录。",
            "No `dataset` array and no JSON-LD: not a DCAT catalog.",
        )
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
