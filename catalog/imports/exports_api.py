"""REST of exports: the catalog as a workbook or CSV that imports again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Scope
from app.kernel.db import DbSession, lift_statement_timeout
from app.kernel.text import Locale, negotiate_locale
from catalog.formats.export import write_csv, write_workbook
from catalog.imports.api import WORKBOOK_TYPE
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from catalog.resources.service import visible_to
from catalog.resources.states import PUBLISHED, WITHDRAWN

router = APIRouter(prefix="/api/v1/exports", tags=["imports"])

permit("export.catalog", scope=Scope.CATALOG)

SPOOLED_BYTES = 8 << 20
CHUNK_BYTES = 1 << 16
_TYPES = {"xlsx": WORKBOOK_TYPE, "csv": "text/csv; charset=utf-8"}


@router.get(
    "/catalog.{form}",
    operation_id="export.catalog",
    response_class=StreamingResponse,
    responses={200: {"content": {media: {} for media in _TYPES.values()}, "description": "xlsx, csv"}},
)
def export_catalog(
    form: Annotated[Literal["xlsx", "csv"], Path(description="xlsx, csv")],
    actor: Annotated[Actor, permitted("export.catalog")],
    session: DbSession,
    request: Request,
    own: Annotated[
        bool, Query(description="只要本单位的，含未发布的 / only my agency's, the unpublished too")
    ] = False,
) -> StreamingResponse:
    """The published resources you may see, or all of your own agency's; the file imports again without loss."""
    locale = getattr(request.state, "locale", None) or negotiate_locale(
        request.headers.get("accept-language")
    )
    # Written whole before the answer begins: a workbook has its index at its end, and may be refused as too long.
    spooled = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 - closed when it is sent
    write = write_workbook if form == "xlsx" else write_csv
    write(_records(session, actor, own=own), spooled, _locale(locale))  # type: ignore[arg-type]  # a binary file
    return StreamingResponse(
        _pieces(spooled), media_type=_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="catalog.{form}"'},
    )  # fmt: skip


def _locale(locale: str) -> Locale:
    return "en" if locale == "en" else "zh-CN"


def _records(session: Session, actor: Actor, *, own: bool) -> Iterator[ResourceRecord]:
    lift_statement_timeout(session)
    query = select(Resource.record).where(visible_to(actor))
    if own:
        query = query.where(Resource.agency_id == actor.agency_id, Resource.state != WITHDRAWN)
    else:
        query = query.where(Resource.state == PUBLISHED)
    ordered = query.order_by(Resource.agency_id, Resource.code).execution_options(yield_per=500)
    for record in session.scalars(ordered):
        yield ResourceRecord.model_validate(record)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(CHUNK_BYTES):
            yield piece
