"""REST of what concerns the reader: the inbox, the event feed, webhooks, the daily mail."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, StringConstraints, field_validator

from app.identity.cases import Asked, guarded
from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import Invalid
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.text import Storable, Text
from app.kernel.wire import (
    NOT_A_CURSOR,
    Cursor,
    ExpectedVersion,
    Label,
    Limit,
    Page,
    Paging,
    Wire,
    decode_cursor,
    encode_cursor,
    link_to_next,
    page,
    set_version,
)
from exchange.telling import digests, feed, webhooks
from exchange.telling.feed import KINDS, FeedEvent
from exchange.telling.inbox import Matter, read_inbox
from exchange.telling.models import Webhook

router = APIRouter(prefix="/api/v1", tags=["inbox"], route_class=CreatingRoute)

permit("inbox.read", "event.feed", scope=Scope.CLERK)
permit("digest.read", "digest.subscribe", "digest.end")
permit(
    "webhook.list",
    "webhook.read",
    "webhook.register",
    "webhook.issue_secret",
    "webhook.pause",
    "webhook.resume",
    "webhook.test",
    "webhook.replay",
    "webhook.remove",
    roles=(Role.APPROVER, Role.SYSTEM_ADMINISTRATOR),
)


class ActOut(Wire):
    """Something that the reader may do."""

    name: str
    label: Label


class MatterOut(Wire):
    """One case. Without `acts` it is for others of the reader's agency, or for the other side."""

    kind: str
    id: UUID
    href: str
    title: Label
    state: str
    state_name: Label
    acts: list[ActOut]
    overdue: bool
    duty: str | None
    due_on: date | None
    due_at: datetime | None
    paused: bool
    provisional: bool


class InboxOut(Wire):
    """`for_me`: what I can do; `for_my_agency`: what others of it have to; `awaited`: what we wait for."""

    for_me: list[MatterOut]
    for_my_agency: list[MatterOut]
    awaited: list[MatterOut]


@router.get("/inbox", operation_id="inbox.read")
def read(session: DbSession, actor: Annotated[Actor, permitted("inbox.read")]) -> InboxOut:
    """待办: what waits, overdue first, then by due date."""
    found = read_inbox(session, by=actor)
    told = [_matter(one) for one in found.waiting]
    return InboxOut(
        for_me=[one for one in told if one.acts],
        for_my_agency=[one for one in told if not one.acts],
        awaited=[_matter(one) for one in found.awaited],
    )


def _matter(one: Matter) -> MatterOut:
    due, kind = one.due, one.machine.kind
    return MatterOut(
        kind=kind, id=one.id, href=f"/api/v1/{KINDS[kind].path}/{one.id}", title=Label.of(one.title), state=one.state,
        state_name=Label.of(one.machine.states[one.state]),
        acts=[ActOut(name=act, label=Label.of(one.machine.acts[act])) for act in one.acts],
        overdue=one.overdue, duty=due.duty if due else None, due_on=due.due_on if due else None,
        due_at=due.due_at if due else None, paused=due is not None and due.paused_at is not None,
        provisional=due is not None and due.provisional,
    )  # fmt: skip


# --- The feed


class FeedOut(Wire):
    """Events in commit order. `next` is always there: keep it, and ask with it again; `more` says that there
    is more right away."""

    events: list[FeedEvent]
    next: str
    more: bool


class Asking(Wire):
    """Where to read from, and of which kinds of case."""

    cursor: Cursor = None
    limit: Limit = 100
    kind: list[str] = Field(default=[], max_length=20)

    @field_validator("kind")
    @classmethod
    def _known(cls, kinds: list[str]) -> list[str]:
        return webhooks.known_kinds(kinds)

    @property
    def after(self) -> feed.Cursor:
        if self.cursor is None:
            return feed.START
        transaction, position = decode_cursor(self.cursor, 2)
        if not isinstance(transaction, int) or not isinstance(position, int) or not 0 <= position < 1 << 63:
            raise Invalid(faults=[NOT_A_CURSOR])
        return transaction, position


@router.get("/events", operation_id="event.feed")
def read_events(
    session: DbSession,
    actor: Annotated[Actor, permitted("event.feed")],
    asking: Annotated[Asking, Query()],
    request: Request,
    response: Response,
) -> FeedOut:
    """事件流: what happened to the cases the reader may know of, oldest first. A reader that keeps `next`
    misses nothing, whatever commits late."""
    reading = feed.read_feed(session, asking.after, by=actor, kinds=asking.kind, limit=asking.limit)
    following = encode_cursor(*reading.cursor)
    response.headers["Link"] = link_to_next(request, following)
    return FeedOut(
        events=[feed.as_told(one, reading) for one in reading.events], next=following, more=reading.more
    )


# --- Webhooks


class NewWebhook(Wire):
    """Where to send, and events of which kinds of case; none named: of all."""

    url: Annotated[str, Field(max_length=2000), Storable]
    kinds: list[str] = Field(default=[], max_length=20)

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: list[str]) -> list[str]:
        return webhooks.known_kinds(kinds)


class Since(Wire):
    """From when on everything is sent again."""

    since: datetime


class WebhookOut(Wire):
    """A webhook: how it went last, how its trial went (`test_result`; None while it is not sent yet), and what the
    reader may do."""

    id: UUID
    url: str
    kinds: list[str]
    active: bool
    version: int
    failures: int
    next_attempt_at: datetime
    last_result: str | None
    tested_at: datetime | None
    test_result: str | None
    created_at: datetime
    allowed: list[str]


class Secret(Wire):
    """The secret that signs; it is shown once."""

    secret: str


def _asked(act: str) -> Any:
    return guarded(f"webhook.{act}", webhooks.find_webhook)


@router.get("/webhooks", operation_id="webhook.list")
def list_webhooks(
    session: DbSession, actor: Annotated[Actor, permitted("webhook.list")], chosen: Annotated[Paging, Query()]
) -> Page[WebhookOut]:
    """The webhooks of one's own agency, newest first."""
    rows = webhooks.list_webhooks(session, by=actor, before=chosen.before, limit=chosen.fetch)
    return page(rows, chosen.limit, lambda shown: [_told(row) for row in shown])


@router.post("/webhooks", operation_id="webhook.register", status_code=201, openapi_extra=ONCE)
def register(
    body: NewWebhook,
    session: DbSession,
    actor: Annotated[Actor, permitted("webhook.register")],
    request: Request,
    response: Response,
) -> WebhookOut:
    """Have one's agency's events sent to a URL, from now on. `issue_secret` shows what signs them."""
    state = request.app.state
    row = webhooks.register(
        session,
        url=body.url,
        kinds=body.kinds,
        by=actor,
        outbound=state.settings.outbound,
        seal=state.keys.seal,
    )
    response.headers["Location"] = f"/api/v1/webhooks/{row.id}"
    return _represent(Asked(session, row, actor, response))


@router.get("/webhooks/{id}", operation_id="webhook.read")
def read_webhook(asked: Annotated[Asked[Webhook], _asked("read")]) -> WebhookOut:
    """One webhook."""
    return _represent(asked)


@router.post("/webhooks/{id}/issue_secret", operation_id="webhook.issue_secret")
def issue_secret(
    asked: Annotated[Asked[Webhook], _asked("issue_secret")], version: ExpectedVersion, request: Request
) -> Secret:
    """A new secret in place of the old one, shown this once."""
    secret = webhooks.issue_secret(
        asked.session, asked.case, by=asked.by, version=version, seal=request.app.state.keys.seal
    )
    set_version(asked.response, asked.case.version)
    return Secret(secret=secret)


@router.post("/webhooks/{id}/pause", operation_id="webhook.pause")
def pause(asked: Annotated[Asked[Webhook], _asked("pause")], version: ExpectedVersion) -> WebhookOut:
    """Send nothing for a time; nothing is lost."""
    webhooks.switch(asked.session, asked.case, active=False, by=asked.by, version=version)
    return _represent(asked)


@router.post("/webhooks/{id}/resume", operation_id="webhook.resume")
def resume(asked: Annotated[Asked[Webhook], _asked("resume")], version: ExpectedVersion) -> WebhookOut:
    """Send again, from where it stopped."""
    webhooks.switch(asked.session, asked.case, active=True, by=asked.by, version=version)
    return _represent(asked)


@router.post("/webhooks/{id}/test", operation_id="webhook.test")
def test(asked: Annotated[Asked[Webhook], _asked("test")], version: ExpectedVersion) -> WebhookOut:
    """Send a trial message, signed as every other; how it went is told by `test_result` a moment later."""
    webhooks.ask_test(asked.session, asked.case, by=asked.by, version=version)
    return _represent(asked)


@router.post("/webhooks/{id}/replay", operation_id="webhook.replay")
def replay(
    asked: Annotated[Asked[Webhook], _asked("replay")], body: Since, version: ExpectedVersion
) -> WebhookOut:
    """Send everything again that happened since, in order and with the same ids; a webhook that was paused or given
    up goes on."""
    webhooks.replay(asked.session, asked.case, since=body.since, by=asked.by, version=version)
    return _represent(asked)


@router.delete("/webhooks/{id}", operation_id="webhook.remove", status_code=204)
def remove(asked: Annotated[Asked[Webhook], _asked("remove")], version: ExpectedVersion) -> None:
    """Send nothing there any more."""
    webhooks.remove(asked.session, asked.case, by=asked.by, version=version)


def _represent(asked: Asked[Webhook]) -> WebhookOut:
    set_version(asked.response, asked.case.version)
    return _told(asked.case)


def _told(row: Webhook) -> WebhookOut:
    allowed = ["issue_secret", "pause" if row.active else "resume", "test", "replay", "remove"]
    plain = {name: getattr(row, name) for name in WebhookOut.model_fields if name != "allowed"}
    return WebhookOut(**plain, allowed=allowed)


# --- The daily mail

Address = Annotated[
    str,
    StringConstraints(pattern=r"^[^@\s<>\"',;:\\()\[\]\x00-\x1f]+@[A-Za-z0-9.-]+$", max_length=254),
    Storable,
]


class Subscription(Wire):
    address: Address


class DigestOut(Wire):
    """The reader's own mail. `available` is whether this deployment sends mail at all."""

    available: bool
    address: str | None
    sent_on: date | None
    allowed: list[str]


@router.get("/me/digest", operation_id="digest.read")
def read_digest(
    session: DbSession, actor: Annotated[Actor, permitted("digest.read")], request: Request
) -> DigestOut:
    """Where the reader's mail of what waits goes."""
    row = digests.subscription(session, actor)
    available = request.app.state.settings.mailer is not None
    allowed = ["subscribe", "end"] if row else ["subscribe"]
    return DigestOut(
        available=available, address=row.address if row else None, sent_on=row.sent_on if row else None,
        allowed=allowed if available else allowed[1:],
    )  # fmt: skip


@router.put("/me/digest", operation_id="digest.subscribe")
def subscribe(
    body: Subscription,
    session: DbSession,
    actor: Annotated[Actor, permitted("digest.subscribe")],
    request: Request,
) -> DigestOut:
    """每日提醒: a mail each working day of what waits for the reader; where this deployment sends mail."""
    if request.app.state.settings.mailer is None:
        raise digests.NoMail(Text("本平台没有配置邮件服务器。", "No mail server is configured here."))
    digests.subscribe(session, address=body.address, by=actor)
    return read_digest(session, actor, request)


@router.delete("/me/digest", operation_id="digest.end", status_code=204)
def end_digest(session: DbSession, actor: Annotated[Actor, permitted("digest.end")]) -> None:
    """No more mail."""
    digests.end(session, by=actor)
