"""The disclosure guide (信息公开指南) and catalogue of each agency: what is open, and whom to ask for it.

Owns the guide's words. Readable by anyone; it names what is open and nothing else, not even by counting.
Source: Regulation Art. 19, 22.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.identity import agencies
from app.identity.cases import AgencyRef, Asked, guarded
from app.identity.models import Agency
from app.identity.permissions import permit
from app.kernel import history
from app.kernel.actor import ANONYMOUS, Actor, Role, Scope
from app.kernel.clock import now
from app.kernel.db import Base
from app.kernel.errors import NotPermitted, StaleVersion
from app.kernel.text import Text
from app.kernel.wire import ExpectedVersion, Label, LongText, ShortText, Wire, set_version
from catalog.resources import service as resources
from catalog.resources.codes import THEMES, Theme
from catalog.resources.models import Resource

router = APIRouter(prefix="/api/v1/agencies", tags=["disclosure"])

permit("disclosure.read", anonymous=True, scope=Scope.CATALOG)
permit("disclosure.write", roles=(Role.APPROVER, Role.CATALOG_ADMINISTRATOR))

OPEN_SHOWN = 500


class Guide(Base):
    """What an agency tells the public of how to get information from it."""

    __tablename__ = "disclosure_guide"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), primary_key=True)
    version: Mapped[int]
    updated_at: Mapped[datetime]
    office: Mapped[str]
    address: Mapped[str | None]
    hours: Mapped[str | None]
    telephone: Mapped[str | None]
    email: Mapped[str | None]
    how_to_ask: Mapped[str]


class GuideWords(Wire):
    """The office that takes requests from the public, where and when, and how to ask (Regulation Art. 19)."""

    office: ShortText
    address: ShortText | None = None
    hours: ShortText | None = None
    telephone: ShortText | None = None
    email: ShortText | None = None
    how_to_ask: LongText


class OpenResource(Wire):
    """One line of the catalogue: what is open without conditions, and under which licence."""

    id: UUID
    code: str
    title: str
    title_en: str | None
    licence: str | None
    updated_at: datetime


class OpenTheme(Wire):
    theme: Theme | None
    label: Label
    resources: list[OpenResource]


class GuideOut(Wire):
    """The guide and, by theme, the catalogue of what is open; `version` 0: the agency has not written it yet."""

    agency: AgencyRef
    version: int
    updated_at: datetime | None
    guide: GuideWords | None
    open_resources: int
    catalogue: list[OpenTheme]
    feed: str
    basis: list[str]


def _agency(session: Session, agency_id: UUID, *, by: Actor) -> Agency:
    return agencies.agency(session, agency_id)


@router.get("/{id}/disclosure", operation_id="disclosure.read")
def read_guide(asked: Annotated[Asked[Agency], guarded("disclosure.read", _agency)]) -> GuideOut:
    """信息公开指南和目录 of one agency."""
    return _represent(asked)


@router.put("/{id}/disclosure", operation_id="disclosure.write")
def write_guide(
    asked: Annotated[Asked[Agency], guarded("disclosure.write", _agency)],
    body: GuideWords,
    version: ExpectedVersion,
) -> GuideOut:
    """Write or replace the guide of one's own agency; version 0 where there is none."""
    keep_guide(asked.session, asked.case, body, expected_version=version, by=asked.by)
    return _represent(asked)


def keep_guide(
    session: Session, agency: Agency, words: GuideWords, *, expected_version: int, by: Actor
) -> None:
    """Write or replace the guide of an agency. Errors: NotPermitted (another's), StaleVersion."""
    if by.agency_id != agency.id:
        raise NotPermitted(Text("由本单位编制公开指南。", "An agency writes its own guide."), basis="REG-19")
    guide = session.get(Guide, agency.id, with_for_update=True)
    current = guide.version if guide else 0
    if current != expected_version:
        raise StaleVersion(current_version=current)
    told = words.model_dump(mode="json")
    session.merge(Guide(agency_id=agency.id, version=current + 1, updated_at=now(), **told))
    history.record(
        session, kind="agency", subject_id=agency.id, act="write_guide", by=by, basis="REG-19", data=told
    )
    session.flush()


def _represent(asked: Asked[Agency]) -> GuideOut:
    session, agency = asked.session, asked.case
    guide = session.get(Guide, agency.id)
    shown = (Resource.agency_id == agency.id, resources.visible_to(ANONYMOUS))
    total = session.scalar(select(func.count()).select_from(Resource).where(*shown)) or 0
    rows = session.scalars(select(Resource).where(*shown).order_by(Resource.code).limit(OPEN_SHOWN))
    by_theme: dict[Theme | None, list[OpenResource]] = {}
    for row in rows:
        first = Theme(row.themes[0]) if row.themes else None
        by_theme.setdefault(first, []).append(_line(row))
    version = guide.version if guide else 0
    set_version(asked.response, version)
    return GuideOut(
        agency=AgencyRef.of_agency(agency), version=version, updated_at=guide.updated_at if guide else None,
        guide=GuideWords.model_validate({name: getattr(guide, name) for name in GuideWords.model_fields})
        if guide
        else None,
        open_resources=total,
        catalogue=[
            OpenTheme(theme=theme, label=Label.of(_label(theme)), resources=lines)
            for theme, lines in by_theme.items()
        ],
        feed="/catalog.ttl", basis=["REG-19", "REG-22"],
    )  # fmt: skip


def _label(theme: Theme | None) -> Text:
    names: Mapping[Theme, Text] = THEMES
    return names[theme] if theme else Text("未分主题", "without a theme")


def _line(row: Resource) -> OpenResource:
    return OpenResource(
        id=row.id, code=row.code, title=row.title, title_en=row.title_en, licence=row.record.get("licence"),
        updated_at=row.updated_at,
    )  # fmt: skip
