"""Webhooks: an agency's events sent to its system, signed, in order, each at least once.

Owns the registration and the sending. There is no queue of its own: each webhook has a place in the event
feed, which moves on when the receiver has said yes. Signed as in Standard Webhooks 1.0 (`v1`), CloudEvents 1.0 inside.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, false, select, text
from sqlalchemy.orm import Session

from app.identity.models import Agency, Jurisdiction
from app.kernel import history
from app.kernel.actor import Actor, ActorKind, Role, Scope, system_actor
from app.kernel.clock import new_id, now
from app.kernel.db import Database
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted, StaleVersion, TooMany
from app.kernel.history import Event
from app.kernel.outbound import NotReachable, Outbound
from app.kernel.seal import Seal
from app.kernel.text import Text
from exchange.telling import feed
from exchange.telling.feed import FOLLOWED, KINDS
from exchange.telling.models import Webhook

KIND = "webhook"
MOST_OF_AN_AGENCY = 20
EVENTS_AT_ONCE = 50
TIMEOUT_S = 10.0
LEASE = timedelta(minutes=15)  # longer than EVENTS_AT_ONCE answers may take
FIRST_WAIT = timedelta(seconds=10)
LONGEST_WAIT = timedelta(hours=6)
GIVE_UP_AFTER = 40  # failures in a row: about a week
GONE = 410
SENDER = system_actor("webhooks")


def known_kinds(kinds: list[str]) -> list[str]:
    """The kinds, if there are such. Errors: ValueError with a Text."""
    told = (*KINDS, FOLLOWED)
    if unknown := set(kinds) - set(told):
        message = Text("没有这种事项：{kinds}；取值：{known}", "no such kind: {kinds}; one of: {known}")
        raise ValueError(message.with_(kinds=", ".join(sorted(unknown)), known=", ".join(told)))
    return kinds


def _visible_to(by: Actor) -> ColumnElement[bool]:
    return Webhook.agency_id == by.agency_id if by.agency_id else false()


def find_webhook(session: Session, webhook_id: UUID, *, by: Actor) -> Webhook:
    """The webhook, if it is the actor's agency's. Errors: NotFound."""
    row = session.scalar(select(Webhook).where(Webhook.id == webhook_id, _visible_to(by)))
    if row is None:
        raise NotFound()
    return row


def list_webhooks(session: Session, *, by: Actor, before: UUID | None, limit: int) -> list[Webhook]:
    """The webhooks of the actor's agency, newest first."""
    query = select(Webhook).where(_visible_to(by))
    if before is not None:
        query = query.where(Webhook.id < before)
    return list(session.scalars(query.order_by(Webhook.id.desc()).limit(limit)))


def register(
    session: Session, *, url: str, kinds: Sequence[str], by: Actor, outbound: Outbound, seal: Seal
) -> Webhook:
    """A webhook that is told what happens from now on. Errors: Invalid, NotPermitted, TooMany."""
    if by.agency_id is None or by.id is None:
        raise NotPermitted()
    if faults := outbound.faults("/url", url):
        raise Invalid(faults=faults)
    if len(list_webhooks(session, by=by, before=None, limit=MOST_OF_AN_AGENCY)) == MOST_OF_AN_AGENCY:
        message = Text("每个单位不超过 {n} 个。", "At most {n} of an agency.")
        raise TooMany(message.with_(n=MOST_OF_AN_AGENCY))
    # Whatever runs now commits later than this place, or at it.
    place = session.execute(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")).scalar_one()
    row = Webhook(
        id=new_id(), created_at=now(), agency_id=by.agency_id, url=url, kinds=list(kinds), version=1, active=True,
        secret=_sealed(_new_secret(), seal), told_transaction=int(place), told_position=0, failures=0,
        next_attempt_at=now(), author_id=by.id, test_asked=False,
    )  # fmt: skip
    session.add(row)
    session.flush()
    _record(session, row, "register", by)
    return row


def issue_secret(session: Session, row: Webhook, *, by: Actor, version: int, seal: Seal) -> str:
    """Replace the secret and return the new one. Errors: StaleVersion."""
    _change(session, row, version)
    secret = _new_secret()
    row.secret = _sealed(secret, seal)
    _record(session, row, "issue_secret", by)
    return secret


def switch(session: Session, row: Webhook, *, active: bool, by: Actor, version: int) -> None:
    """Send to it or not; it goes on from where it stopped. Errors: StaleVersion."""
    _change(session, row, version)
    row.active, row.failures, row.next_attempt_at = active, 0, now()
    _record(session, row, "resume" if active else "pause", by)


def ask_test(session: Session, row: Webhook, *, by: Actor, version: int) -> None:
    """Have a trial message sent. Errors: StaleVersion."""
    _change(session, row, version)
    row.test_asked, row.tested_at, row.test_result = True, None, None
    _record(session, row, "test", by)


def replay(session: Session, row: Webhook, *, since: datetime, by: Actor, version: int) -> None:
    """Send everything again from the first event at `since` or later, whatever became of it. Errors: StaleVersion,
    Invalid."""
    if since > now():
        message = Text("“{since}”在将来", "“{since}” is in the future").with_(since=since.isoformat())
        raise Invalid(faults=[Fault("/since", message, Text("不晚于当前时间", "not later than now"))])
    _change(session, row, version)
    later = select(Event.transaction).where(Event.at >= since).order_by(Event.transaction, Event.position)
    first = session.scalar(later.limit(1))
    if first is not None and int(first) <= row.told_transaction:
        row.told_transaction, row.told_position = int(first), 0
    row.active, row.failures, row.next_attempt_at = True, 0, now()
    _record(session, row, "replay", by)


def remove(session: Session, row: Webhook, *, by: Actor, version: int) -> None:
    """Forget it. Errors: StaleVersion."""
    _change(session, row, version)
    _record(session, row, "remove", by)
    session.delete(row)


def _change(session: Session, row: Webhook, version: int) -> None:
    session.refresh(row, with_for_update=True)
    if row.version != version:
        raise StaleVersion(current_version=row.version)
    row.version += 1


def _record(session: Session, row: Webhook, act: str, by: Actor) -> None:
    data = {"url": row.url, "kinds": row.kinds}
    history.record(session, kind=KIND, subject_id=row.id, act=act, by=by, party="owner", data=data)


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _sealed(secret: str, seal: Seal) -> str:
    return seal.encrypt(secret.encode()).decode()


# --- Sending


def tell_due(database: Database, outbound: Outbound, seal: Seal, *, source: str) -> int:
    """Send a trial message, or what is due to one webhook; returns 1, or 0 where nothing is due. `source` is the
    service's own address, as CloudEvents name it. Safe in several workers.

    The webhook is leased, not locked, while its receiver is spoken to; a worker that dies leaves the lease
    to run out, and what it had sent without saying so is sent again.
    """
    if _try_out(database, outbound, seal, source):
        return 1
    with database.transaction() as session:
        due = select(Webhook).where(Webhook.active, Webhook.next_attempt_at <= now())
        row = session.scalar(due.order_by(Webhook.next_attempt_at).limit(1).with_for_update(skip_locked=True))
        if row is None:
            return 0
        row.next_attempt_at = now() + LEASE
        reading = feed.read_feed(
            session, (row.told_transaction, row.told_position), by=_reader(session, row.agency_id),
            kinds=row.kinds, limit=EVENTS_AT_ONCE,
        )  # fmt: skip
        bodies = [_body(event, reading, source) for event in reading.events]
    told, result = 0, None
    secret = seal.decrypt(row.secret.encode()).decode()
    for event_id, _, body in bodies:
        result = _send(outbound, row.url, secret, event_id, body)
        if result != "ok":
            break
        told += 1
    cursor = reading.cursor if told == len(bodies) else bodies[told - 1][1] if told else None
    with database.transaction() as session:
        kept = session.get(Webhook, row.id, with_for_update=True)
        if kept is not None:
            _settle(session, kept, cursor, result, more=reading.more)
    return 1


def _try_out(database: Database, outbound: Outbound, seal: Seal, source: str) -> bool:
    """Send the trial message that somebody asked for, if there is one, and keep how it went. It is sent once, and
    says nothing of the webhook's own messages."""
    with database.transaction() as session:
        asked = select(Webhook).where(Webhook.test_asked).limit(1).with_for_update(skip_locked=True)
        row = session.scalar(asked)
        if row is None:
            return False
        row.test_asked = False
    message_id = str(new_id())
    words = Text("试发消息，无需处理。", "A trial message: nothing has to be done.")
    data = {"webhook": str(row.id), "message": {"zh": words.zh, "en": words.en}}
    body = _event(message_id, source, "webhook.test", f"/api/v1/webhooks/{row.id}", now(), data)
    result = _send(outbound, row.url, seal.decrypt(row.secret.encode()).decode(), message_id, body)
    with database.transaction() as session:
        kept = session.get(Webhook, row.id, with_for_update=True)
        if kept is not None:
            kept.tested_at, kept.test_result = now(), result
    return True


def _settle(
    session: Session, row: Webhook, cursor: feed.Cursor | None, result: str | None, *, more: bool
) -> None:
    if cursor is not None:
        row.told_transaction, row.told_position = cursor
    if result is not None:
        row.last_result = result
    if result in (None, "ok"):
        row.failures = 0
        row.next_attempt_at = now() if more else now() + timedelta(seconds=2)
        return
    row.failures += 1
    row.next_attempt_at = now() + min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(row.failures - 1, 20))
    if row.failures >= GIVE_UP_AFTER or result == str(GONE):
        row.active, row.version = False, row.version + 1
        _record(session, row, "give_up", SENDER)


def _reader(session: Session, agency_id: UUID) -> Actor:
    """What the agency's own system with the scope of a clerk may know."""
    agency = session.get_one(Agency, agency_id)
    place = session.get_one(Jurisdiction, agency.jurisdiction_id)
    return Actor(
        ActorKind.CLIENT, agency_id=agency_id, jurisdiction_id=place.id, is_authority=place.authority_id == agency_id,
        roles=frozenset({Role.CLERK}), scopes=frozenset({Scope.CLERK}),
    )  # fmt: skip


def _body(event: history.Event, reading: feed.Reading, source: str) -> tuple[str, feed.Cursor, bytes]:
    told = feed.as_told(event, reading)
    kind = f"{told.kind}.{event.act}"
    body = _event(str(event.id), source, kind, told.href, event.at, told.model_dump(mode="json"))
    return str(event.id), (int(event.transaction), event.position), body


def _event(event_id: str, source: str, kind: str, subject: str, at: datetime, data: dict[str, Any]) -> bytes:
    """A CloudEvents 1.0 event in its JSON format, whose id is the message's."""
    content = {
        "specversion": "1.0", "id": event_id, "source": source, "type": kind, "subject": subject,
        "time": at.isoformat(), "datacontenttype": "application/json", "data": data,
    }  # fmt: skip
    return json.dumps(content, ensure_ascii=False).encode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of a message: HMAC-SHA256 over id, timestamp and body, joined by dots."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _send(outbound: Outbound, url: str, secret: str, message_id: str, body: bytes) -> str:
    """ "ok", or what went wrong."""
    timestamp = int(now().timestamp())
    headers = {
        "Content-Type": "application/cloudevents+json; charset=utf-8",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, message_id, timestamp, body),
    }
    try:
        answer = outbound.send("POST", url, headers=headers, content=body, timeout_s=TIMEOUT_S)
    except NotReachable as error:
        return error.slug
    return "ok" if answer.ok else str(answer.status)
