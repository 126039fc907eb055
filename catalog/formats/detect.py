"""Which format a file is in, told by its first bytes, never by its name."""

from __future__ import annotations

import codecs
from enum import StrEnum

from app.kernel.text import Text
from catalog.formats.reading import FileRefused

HEAD_BYTES = 4096


class SourceFormat(StrEnum):
    """The formats an import reads."""

    WORKBOOK = "workbook"
    DCAT_US = "dcat-us"
    CSV = "csv"


_FOREIGN: tuple[tuple[bytes, Text], ...] = (
    (b"\xd0\xcf\x11\xe0", Text("旧版 xls 或加密的工作簿，请另存为未加密的 xlsx", "an old xls or an encrypted workbook: save it as a plain xlsx")),
    (b"%PDF", Text("PDF 文件，请提供表格文件", "a PDF: send the table itself")),
    (b"\x1f\x8b", Text("压缩文件，请先解压", "a compressed file: unpack it first")),
    (b"7z\xbc\xaf", Text("压缩文件，请先解压", "a compressed file: unpack it first")),
    (b"Rar!", Text("压缩文件，请先解压", "a compressed file: unpack it first")),
    (b"<", Text("XML 或网页，这种格式尚不能导入", "XML or a web page, which cannot be imported yet")),
)  # fmt: skip


def detect_format(head: bytes) -> SourceFormat:
    """The format of a file that begins with `head` (HEAD_BYTES are enough). Errors: FileRefused."""
    if head.startswith(b"PK\x03\x04"):
        return SourceFormat.WORKBOOK
    body = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not body:
        raise FileRefused(Text("文件是空的。", "The file is empty."))
    for magic, what in _FOREIGN:
        if body.startswith(magic):
            raise FileRefused(Text("无法导入：{what}。", "Cannot be imported: {what}.").with_(what=what))
    if body[:1] in (b"{", b"["):
        return SourceFormat.DCAT_US
    if b"\x00" in head and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileRefused(Text("不是表格、JSON 或工作簿文件。", "Neither a table nor JSON nor a workbook."))
    return SourceFormat.CSV
