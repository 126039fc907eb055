"""Workbooks are ZIP archives: whether one may be opened at all.

Owns the guard against archives that unpack to more than they should. It reads every byte once, because
the sizes an archive states of itself are its maker's claim.
"""

from __future__ import annotations

import zipfile
import zlib
from typing import BinaryIO

from app.kernel.text import Text
from catalog.formats.reading import UNPACKED_LIMIT_BYTES, UPLOAD_LIMIT_BYTES, FileRefused, FileTooLarge

MEMBER_LIMIT = 2_000
RATIO_LIMIT = 200  # unpacked to packed; real sheets stay under 50
RATIO_FLOOR_BYTES = 16 << 20  # below this a high ratio does no harm
WHOLE_MEMBER_LIMIT_BYTES = 64 << 20  # of what openpyxl loads at once: styles, shared strings

_BOMB = Text("解压后的内容过大，疑似压缩炸弹", "it unpacks to too much, as a zip bomb does")
_CHUNK = 1 << 20


def require_safe_workbook(stream: BinaryIO) -> None:
    """Refuse what is no xlsx workbook or unpacks beyond the limits; leaves the stream at its beginning.

    Errors: FileRefused, FileTooLarge.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    if size > UPLOAD_LIMIT_BYTES:
        raise FileTooLarge()
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _check_claims(members, size)
            _check_bytes(archive, members, size)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
        ValueError,
    ) as error:
        raise FileRefused(Text("不是完好的 xlsx 工作簿。", "Not an intact xlsx workbook.")) from error
    finally:
        stream.seek(0)


def _check_claims(members: list[zipfile.ZipInfo], size: int) -> None:
    names = [member.filename for member in members]
    if len(names) > MEMBER_LIMIT:
        raise FileTooLarge(Text("工作簿内的文件过多。", "The workbook holds too many files."))
    if len(set(names)) != len(names) or "xl/workbook.xml" not in names:
        raise FileRefused(Text("不是 xlsx 工作簿。", "Not an xlsx workbook."))
    if any(member.flag_bits & 1 for member in members):
        raise FileRefused(Text("工作簿已加密。", "The workbook is encrypted."))
    _check_total(sum(member.file_size for member in members), size)


def _check_bytes(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], size: int) -> None:
    total = 0
    for member in members:
        own = 0
        streamed = member.filename.startswith("xl/worksheets/")
        with archive.open(member) as content:
            while chunk := content.read(_CHUNK):
                own += len(chunk)
                total += len(chunk)
                _check_total(total, size)
                if own > WHOLE_MEMBER_LIMIT_BYTES and not streamed:
                    raise FileTooLarge(_BOMB)


def _check_total(total: int, size: int) -> None:
    if total > UNPACKED_LIMIT_BYTES or (total > RATIO_FLOOR_BYTES and total > RATIO_LIMIT * size):
        raise FileTooLarge(_BOMB, unpacked_limit=UNPACKED_LIMIT_BYTES)
