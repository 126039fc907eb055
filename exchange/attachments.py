"""Files that parties put before each other or the authority (附件), beside a term or a whole case.

Owns the content, addressed by its SHA-256, and the check of what a file is. Who may attach is the case's.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import Depends, Request, Response
from sqlalchemy import ForeignKey, Index, LargeBinary, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.kernel import history
from app.kernel.actor import Actor, system_actor
from app.kernel.clock import new_id, now
from app.kernel.db import Base, Database, Identified
from app.kernel.errors import Fault, Invalid, NotFound, TooLarge, WrongMoment
from app.kernel.machine import Party
from app.kernel.scanning import Scanner
from app.kernel.text import Text
from app.kernel.wire import Wire

log = logging.getLogger(__name__)

LIMIT_BYTES = 8 << 20
MOST_OF_A_CASE = 50
LONGEST_NAME = 200


class StoredFile(Base):
    """Content under its own hash; the same content is stored once. Rows are never changed."""

    __tablename__ = "stored_file"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class FileScan(Base):
    """What the virus scanner said of a content: nothing, or what it found. Rows are never changed."""

    __tablename__ = "file_scan"

    sha256: Mapped[str] = mapped_column(ForeignKey("stored_file.sha256"), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    finding: Mapped[str | None]


class FileWithheld(WrongMoment):
    """In quarantine: not scanned yet, or found to be malicious."""

    slug = "file-withheld"
    title = Text("附件暂不能下载", "The attachment cannot be downloaded")


class Attachment(Base, Identified):
    """A file with the case it belongs to. Rows are never changed."""

    __tablename__ = "attachment"

    kind: Mapped[str]  # of the case, as in its machine
    subject_id: Mapped[UUID]
    field: Mapped[str]  # path of the term it is about; "" is the whole case
    party: Mapped[str]
    author_id: Mapped[UUID]
    author_name: Mapped[str]
    name: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int]
    sha256: Mapped[str] = mapped_column(ForeignKey("stored_file.sha256"))

    __table_args__ = (Index("ix_attachment_kind_subject_id", "kind", "subject_id"),)


class AttachmentOut(Wire):
    """A file as it is listed; `sha256` is the content's, as the ledger has it."""

    id: UUID
    field: str
    party: str
    author_name: str
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a file may be: its ending, what it is called on the wire, and how its content shows it."""

    media_type: str
    shows: Callable[[bytes], bool]


def _begins(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda content: content.startswith(magic)


def _packed(member: str) -> Callable[[bytes], bool]:
    """Whether it is a ZIP package with this member and no macros; nothing is unpacked."""

    def shows(content: bytes) -> bool:
        try:
            names = zipfile.ZipFile(io.BytesIO(content)).namelist()
        except (zipfile.BadZipFile, NotImplementedError):
            return False
        return member in names and not any(name.lower().endswith("vbaproject.bin") for name in names)

    return shows


def _is_text(content: bytes) -> bool:
    try:
        return "\x00" not in content.decode()
    except UnicodeDecodeError:
        return False


_OFFICE = "application/vnd.openxmlformats-officedocument"
_KINDS: Mapping[str, _Kind] = {
    "pdf": _Kind("application/pdf", _begins(b"%PDF-")),
    "png": _Kind("image/png", _begins(b"\x89PNG\r\n\x1a\n")),
    "jpg": _Kind("image/jpeg", _begins(b"\xff\xd8\xff")),
    "jpeg": _Kind("image/jpeg", _begins(b"\xff\xd8\xff")),
    "ofd": _Kind("application/ofd", _packed("OFD.xml")),
    "docx": _Kind(f"{_OFFICE}.wordprocessingml.document", _packed("word/document.xml")),
    "xlsx": _Kind(f"{_OFFICE}.spreadsheetml.sheet", _packed("xl/workbook.xml")),
    "txt": _Kind("text/plain; charset=utf-8", _is_text),
    "csv": _Kind("text/csv; charset=utf-8", _is_text),
}


def check_file(name: str, content: bytes) -> str:
    """The media type of a file, judged by its content. Errors: Invalid, TooLarge."""
    if len(content) > LIMIT_BYTES:
        message = Text("附件不得超过 {n} 字节。", "An attachment may not exceed {n} bytes.")
        raise TooLarge(message.with_(n=LIMIT_BYTES), limit=LIMIT_BYTES)
    rule = Text("须为 " + "、".join(_KINDS), "one of: " + ", ".join(_KINDS))
    if not content:
        raise Invalid(faults=[Fault("/file", Text("文件为空", "the file is empty"))])
    if len(name) > LONGEST_NAME or not name.isprintable() or set(name) & set('/\\"'):
        limit = Text("不超过 {n} 个可见字符，不含路径", "at most {n} printable characters, no path")
        fault = Fault("/file", Text("文件名不合规", "not a file name"), limit.with_(n=LONGEST_NAME))
        raise Invalid(faults=[fault])
    kind = _KINDS.get(name.rpartition(".")[2].lower())
    if kind is None:
        raise Invalid(
            faults=[Fault("/file", Text("不接受这种文件", "not a kind of file that is taken"), rule)]
        )
    if not kind.shows(content):
        message = Text("内容与扩展名不符，或者含有宏", "the content is not what the name says, or has macros")
        raise Invalid(faults=[Fault("/file", message, rule)])
    return kind.media_type


def attach(
    session: Session,
    *,
    kind: str,
    subject_id: UUID,
    field: str,
    name: str,
    content: bytes,
    party: Party,
    by: Actor,
) -> Attachment:
    """Keep a checked file with a case whose row the caller has locked. Errors: Invalid, TooLarge."""
    media_type = check_file(name, content)
    count = select(func.count()).where(Attachment.kind == kind, Attachment.subject_id == subject_id)
    if (session.scalar(count) or 0) >= MOST_OF_A_CASE:
        message = Text("附件过多", "too many attachments")
        rule = Text("每案不超过 {n} 件", "at most {n} in a case").with_(n=MOST_OF_A_CASE)
        raise Invalid(faults=[Fault("/file", message, rule)])
    assert by.id is not None
    digest = hash_of(content)
    stored = {"sha256": digest, "created_at": now(), "content": content}
    session.execute(insert(StoredFile).values(stored).on_conflict_do_nothing())
    row = Attachment(
        id=new_id(), created_at=now(), kind=kind, subject_id=subject_id, field=field, party=party, author_id=by.id,
        author_name=by.name, name=name, media_type=media_type, size=len(content), sha256=digest,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def hash_of(content: bytes) -> str:
    """The address of content, as its ledgered event names it."""
    return hashlib.sha256(content).hexdigest()


def attachments_of(session: Session, kind: str, subject_id: UUID) -> list[AttachmentOut]:
    """The files of a case, oldest first."""
    query = select(Attachment).where(Attachment.kind == kind, Attachment.subject_id == subject_id)
    return [AttachmentOut.model_validate(row) for row in session.scalars(query.order_by(Attachment.id))]


def quarantine_of(request: Request) -> bool:
    """Whether files wait for the scanner before they are handed out."""
    return request.app.state.settings.scanner is not None


Quarantine = Annotated[bool, Depends(quarantine_of)]
"""Whether files wait for a virus scanner before anybody may have them."""


def scan_next(database: Database, scanner: Scanner) -> int:
    """Have one stored content scanned that has not been; gives how many there were (0 or 1).
    Errors: ScannerFailed, after which the content stays in quarantine."""
    with database.transaction() as session:
        unseen = ~exists().where(FileScan.sha256 == StoredFile.sha256)
        query = select(StoredFile.sha256, StoredFile.content).where(unseen)
        found = session.execute(query.order_by(StoredFile.created_at).limit(1)).first()
    if found is None:
        return 0
    finding = scanner.finding(found.content)
    with database.transaction() as session:
        seen = {"sha256": found.sha256, "at": now(), "finding": finding}
        session.execute(insert(FileScan).values(seen).on_conflict_do_nothing())
        if finding is not None:
            log.error("file %s is malicious: %s", found.sha256, finding)
            cases = select(Attachment.id).where(Attachment.sha256 == found.sha256)
            for attachment_id in session.scalars(cases).all():
                history.record(
                    session, kind="attachment", subject_id=attachment_id, act="quarantine",
                    by=system_actor("scanner"), data={"sha256": found.sha256, "finding": finding},
                )  # fmt: skip
    return 1


def _require_clean(session: Session, sha256: str) -> None:
    scan = session.get(FileScan, sha256)
    if scan is None:
        raise FileWithheld(Text("正在查毒，请稍后再试。", "It is being scanned; try again soon."))
    if scan.finding is not None:
        message = Text("查出恶意内容：{finding}。", "It holds malicious content: {finding}.")
        raise FileWithheld(message.with_(finding=scan.finding))


def download(
    session: Session, kind: str, subject_id: UUID, attachment_id: UUID, *, quarantine: bool
) -> Response:
    """The file of a case that the reader may know of. Errors: NotFound, FileWithheld."""
    row = session.get(Attachment, attachment_id)
    if row is None or (row.kind, row.subject_id) != (kind, subject_id):
        raise NotFound()
    if quarantine:
        _require_clean(session, row.sha256)
    content = session.get_one(StoredFile, row.sha256).content
    # Never shown in place: what others wrote is not to run in this origin.
    disposition = f"attachment; filename*=UTF-8''{quote(row.name)}"
    return Response(content, media_type=row.media_type, headers={"Content-Disposition": disposition})
