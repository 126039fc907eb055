"""What other systems read of the catalog: the published resources a reader may see, and their addresses.

Owns the selection and the addresses. Knows no format, and hands out nothing that is not published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated
from urllib.parse import quote, urlsplit
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy import ColumnElement, Select, and_, select
from sqlalchemy.orm import Session, aliased, selectinload

from app.identity.models import Agency, Jurisdiction
from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.text import Text
from catalog.interop.vocabularies import file_type
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from catalog.resources.service import visible_to
from catalog.resources.states import PUBLISHED

CATALOG_TITLE = Text("政务信息资源目录", "Catalog of government information resources")
CATALOG_DESCRIPTION = Text(
    "各部门编制并发布的政务信息资源。", "Information resources that government agencies describe and publish."
)
SERVICE_NAME = "政通"

_BATCH = 200  # resources read in one transaction while the whole catalog streams
_UNSAFE = '<>"{}|\\^`'  # never in an IRI (RFC 3987); whatever else is not ASCII is percent-encoded
_MEDIA_TYPE = re.compile(r"^(application|audio|font|image|model|multipart|text|video)/[a-z0-9][a-z0-9.+-]*$")
_DATE = re.compile(r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(?=$|[T ])")


@dataclass(frozen=True)
class Site:
    """Where this service stands on the web; `url` without a slash at its end."""

    url: str

    @property
    def catalog(self) -> str:
        return f"{self.url}/catalog#catalog"

    def page(self, resource_id: UUID) -> str:
        """The page of a resource for people."""
        return f"{self.url}/catalog/{resource_id}"

    def dataset(self, resource_id: UUID) -> str:
        """The identifier of a resource as a dataset; what is said of the page is not said of it."""
        return f"{self.page(resource_id)}#dataset"

    def items(self, resource_id: UUID) -> str:
        """Where its information items are listed."""
        return f"{self.url}/api/v1/resources/{resource_id}/items"

    def agency(self, agency_id: UUID) -> str:
        return f"{self.url}/catalog?agency={agency_id}#agency"

    @property
    def contact(self) -> str:
        """Whom to ask where a record names nobody: the mailbox every mail domain must have (RFC 5321 §4.5.1)."""
        host = urlsplit(self.url).hostname or ""
        return f"postmaster@{host if '.' in host else f'{host}.localdomain'}"


@dataclass(frozen=True, slots=True)
class Offer:
    """One form in which a resource can be had. `access_url` is always an address one can follow; `file_type` is
    a code of the EU authority table, `media_type` a name registered at IANA."""

    access_url: str
    download_url: str | None = None
    title: str | None = None
    description: str | None = None
    format: str | None = None
    file_type: str | None = None
    media_type: str | None = None


@dataclass(frozen=True)
class Entry:
    """A published resource with its agency (loaded) and the jurisdiction it belongs to."""

    resource: Resource
    place: Jurisdiction

    @property
    def id(self) -> UUID:
        return self.resource.id

    @property
    def agency(self) -> Agency:
        return self.resource.agency

    @cached_property
    def record(self) -> ResourceRecord:
        return ResourceRecord.model_validate(self.resource.record)

    @property
    def title(self) -> Text:
        return Text(self.record.title, self.record.title_en or self.record.title)

    @property
    def modified(self) -> str:
        """The day of the last change as the source states it, else the moment the record changed here."""
        return date_in(self.record.modified_as_given) or self.resource.updated_at.isoformat()

    @property
    def period(self) -> tuple[str | None, str | None]:
        """First and last day covered, as far as the record states them as "from/to"."""
        first, _, last = (self.record.temporal or "").partition("/")
        return date_in(first), date_in(last)


def offers(entry: Entry, site: Site) -> list[Offer]:
    """The forms the record names; where it names none, the one it is shared in, which the resource's page tells
    how to get."""
    record, page = entry.record, site.page(entry.id)
    if not record.distributions:
        if not record.format.type:
            return []
        code, media = file_type(record.format.type)
        return [Offer(page, format=record.format.type, file_type=code, media_type=media)]
    found = []
    for given in record.distributions:
        code, media = file_type(given.media_type)
        if code is None and media is None:
            code, media = file_type(given.format)
        if given.media_type and _MEDIA_TYPE.match(given.media_type.lower()):
            media = given.media_type.lower()
        download = web_address(given.download_url)
        access = web_address(given.access_url) or download or page
        found.append(Offer(access, download, given.title, given.description, given.format, code, media))
    return found


def published_to(by: Actor) -> ColumnElement[bool]:
    """Which resources other systems read in the name of `by`: published ones that `by` may see."""
    return and_(Resource.state == PUBLISHED, visible_to(by))


def entries() -> Select[Resource, Jurisdiction]:
    """Query of resources as entries; narrow it, then give it to `read`."""
    # An alias, lest conditions that look into jurisdictions take this one for theirs.
    place = aliased(Jurisdiction)
    query = select(Resource, place).join(place, place.id == Resource.jurisdiction_id)
    return query.options(selectinload(Resource.agency))


def read(session: Session, query: Select[Resource, Jurisdiction]) -> list[Entry]:
    return [Entry(resource, place) for resource, place in session.execute(query)]


def page_of(session: Session, by: Actor, *, after: UUID | None, limit: int) -> list[Entry]:
    """The next `limit` entries after one, oldest first: the order nothing that happens meanwhile disturbs."""
    query = entries().where(published_to(by)).order_by(Resource.id).limit(limit)
    return read(session, query.where(Resource.id > after) if after else query)


def every_entry(database: Database, by: Actor) -> Iterator[Entry]:
    """All entries, in short transactions, so that a slow reader holds none open."""
    last: UUID | None = None
    while True:
        with database.transaction() as session:
            batch = page_of(session, by, after=last, limit=_BATCH)
        yield from batch
        if len(batch) < _BATCH:
            return
        last = batch[-1].id


def find_entry(session: Session, by: Actor, *wanted: ColumnElement[bool]) -> Entry:
    """The one entry that meets `wanted`. Errors: NotFound."""
    found = read(session, entries().where(published_to(by), *wanted).limit(1))
    if not found:
        raise NotFound()
    return found[0]


def publisher(session: Session) -> Agency | None:
    """Who answers for the catalog: the authority of the highest jurisdiction that has one."""
    query = select(Agency).join(Jurisdiction, Jurisdiction.authority_id == Agency.id)
    return session.scalar(query.order_by(Jurisdiction.level, Jurisdiction.code).limit(1))


def web_address(value: str | None) -> str | None:
    """The text as an IRI that others may follow, or None where it is none: sources write all kinds of things
    into a field for addresses."""
    text = (value or "").strip()
    try:
        parts = urlsplit(text)
        if parts.scheme.lower() not in ("http", "https", "ftp") or not parts.hostname:
            return None
    except ValueError:
        return None
    return quote(text, safe="%/:?#[]@!$&'()*+,;=~-._") if _needs_quoting(text) else text


def _needs_quoting(text: str) -> bool:
    return any(c in _UNSAFE or ord(c) <= 0x20 or ord(c) >= 0x7F for c in text)


def date_in(text: str | None) -> str | None:
    """The ISO date a text begins with, or None."""
    found = _DATE.match((text or "").strip())
    return found[0] if found else None


def languages(record: ResourceRecord) -> Sequence[str]:
    """The primary subtags of the record's languages (BCP 47), in order."""
    tags = (tag.strip().split("-")[0].lower() for tag in (record.language or "").split(","))
    return list(dict.fromkeys(tag for tag in tags if tag))


def _site(request: Request) -> Site:
    url: str = request.app.state.settings.public_url
    return Site(url.rstrip("/"))


ThisSite = Annotated[Site, Depends(_site)]
