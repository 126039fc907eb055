"""The daily mail (每日提醒): what waits for a person, each working day; nothing waits, nothing is sent.

Owns who wants it and when it goes. A mail names cases and due dates and carries nothing of their content.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.identity.models import Person
from app.identity.sessions import actor_of
from app.kernel import jobs
from app.kernel.actor import Actor
from app.kernel.calendar import BEIJING, legal_date
from app.kernel.clock import now
from app.kernel.db import Database
from app.kernel.errors import Conflict, NotPermitted
from app.kernel.jobs import Outside
from app.kernel.mail import Mailer
from app.kernel.outbound import Outbound
from app.kernel.text import Locale, Text
from exchange.parties import calendar_for
from exchange.telling.inbox import Inbox, Matter, read_inbox
from exchange.telling.models import Digest

SEND = "digest.send"
FROM_HOUR = 8  # in legal time
AT_ONCE = 100
LINES = 50


class NoMail(Conflict):
    """This deployment sends no mail."""

    slug = "no-mail"
    title = Text("未配置邮件", "No mail is sent here")


def subscription(session: Session, by: Actor) -> Digest | None:
    """The actor's own, if it wants mail."""
    return session.get(Digest, by.id) if by.id else None


def subscribe(session: Session, *, address: str, by: Actor) -> None:
    """Send the actor's mail to `address` from now on."""
    if by.id is None:
        raise NotPermitted()
    values = {"person_id": by.id, "address": address}
    session.execute(
        insert(Digest)
        .values(values)
        .on_conflict_do_update(index_elements=["person_id"], set_={"address": address})
    )
    session.expire_all()


def end(session: Session, *, by: Actor) -> None:
    """Send no more."""
    row = subscription(session, by)
    if row is not None:
        session.delete(row)


def enqueue_due(session: Session) -> int:
    """Enqueue today's mail for everybody whose working day has begun; returns for how many."""
    today = legal_date(now())
    if now().astimezone(BEIJING).hour < FROM_HOUR:
        return 0
    due = select(Digest).where(or_(Digest.sent_on.is_(None), Digest.sent_on < today))
    rows = session.scalars(due.limit(AT_ONCE).with_for_update(skip_locked=True)).all()
    for row in rows:
        row.sent_on = today
        person = session.get_one(Person, row.person_id)
        if person.active and calendar_for(session, person.agency_id).is_working_day(today):
            jobs.enqueue(session, SEND, {"person": str(row.person_id)}, lock=f"digest {row.person_id}")
    return len(rows)


def sending(mailer: Mailer, public_url: str) -> Outside:
    """The job that writes one person's mail and hands it over; tried again where the server does not take it."""

    def run(database: Database, _outbound: Outbound, args: Mapping[str, Any]) -> None:
        with database.transaction() as session:
            row = session.get(Digest, UUID(args["person"]))
            person = session.get(Person, row.person_id) if row else None
            if row is None or person is None or not person.active:
                return
            actor = actor_of(session, person)
            found = read_inbox(session, by=actor)
            address = row.address
        if found.waiting:
            subject, body = write(found, actor.locale, public_url)
            mailer.send(address, subject, body)

    return Outside(run)


def write(found: Inbox, locale: Locale, public_url: str) -> tuple[str, str]:
    """Subject and body of the mail."""
    overdue = sum(one.overdue for one in found.waiting)
    subject = Text("政通：{n} 项待办，其中 {late} 项逾期", "Zhengtong: {n} waiting, {late} overdue")
    lines = [_line(one, locale) for one in found.waiting[:LINES]]
    if len(found.waiting) > LINES:
        rest = Text("……另有 {n} 项", "… and {n} more").with_(n=len(found.waiting) - LINES)
        lines.append(rest.in_(locale))
    where = Text("办理：{url}", "To act: {url}").with_(url=public_url).in_(locale)
    counted = subject.with_(n=len(found.waiting), late=overdue).in_(locale)
    return counted, "\n".join([*lines, "", where, ""])


def _line(one: Matter, locale: Locale) -> str:
    state = one.machine.states[one.state].in_(locale)
    line = f"- {one.title.in_(locale)} · {state}"
    if one.due is not None and one.due.paused_at is None:
        due: date = one.due.due_on
        late = Text("逾期，应于", "OVERDUE, was due") if one.overdue else Text("截止", "due")
        line += f" · {late.in_(locale)} {due.isoformat()}"
    return line
