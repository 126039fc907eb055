"""Creation at most once (`Idempotency-Key`): the same key and content get the same answer again.

Owns the keys and the answers kept for them, written with what they created. Refuses a key that comes
with other content. Answers that carry secrets are never kept: their routes do not declare `ONCE`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Index, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.db import Base
from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from app.kernel.wire import LinkedRoute

HEADER = "Idempotency-Key"
KEPT = timedelta(hours=24)
LONGEST_KEY = 200
FORGOTTEN_AT_ONCE = 100
KEPT_HEADERS = ("content-type", "location", "etag")

ONCE: dict[str, Any] = {
    "parameters": [
        {
            "name": HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
            "description": "同一标识、同一内容 24 小时内得到同一答复 / the same key with the same content gets the "
            "same answer for 24 hours",
        }
    ]
}
"""`openapi_extra` of a creation whose answer may be kept; its router has `route_class=CreatingRoute`."""


class KeyOfOtherContent(Invalid):
    """The key was used before, for other content."""

    slug = "idempotency-key-reused"
    title = Text("Idempotency-Key 已用于其他内容", "The Idempotency-Key was used for other content")


class IdempotencyKey(Base):
    """One key of one actor, with the answer that its creation got."""

    __tablename__ = "idempotency_key"

    actor_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]  # SHA-256 of the path and the content
    created_at: Mapped[datetime]
    status: Mapped[int | None]  # None only inside the transaction that creates
    headers: Mapped[dict[str, str] | None] = mapped_column(JSONB)
    body: Mapped[bytes | None]

    __table_args__ = (Index("ix_idempotency_key_created_at", "created_at"),)


@dataclass(slots=True)
class _Claim:
    """What a request asks to be done once; `session` and `actor_id` once its actor is recognised."""

    key: str
    fingerprint: str
    session: Session | None = None
    actor_id: UUID | None = None


class _AnsweredBefore(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response


class CreatingRoute(LinkedRoute):
    """Route class of REST: links the pages of lists, and keeps the answers of creations declared `ONCE`, and gives them again."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.openapi_extra is not ONCE:
            return handle

        async def once(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None:
                return await handle(request)
            if not 1 <= len(key) <= LONGEST_KEY:
                message = Text("须为 1 至 {n} 个字符", "must be 1 to {n} characters").with_(n=LONGEST_KEY)
                raise Invalid(faults=[Fault(f"/headers/{HEADER}", message)])
            content = request.url.path.encode() + b"\0" + await request.body()
            claim = _Claim(key, hashlib.sha256(content).hexdigest())
            request.state.claim = claim
            try:
                response = await handle(request)
            except _AnsweredBefore as answered:
                return answered.response
            await run_in_threadpool(_keep, claim, response)
            return response

        return once


def claim(request: Request, session: Session, actor: Actor) -> None:
    """Take the request's key for `actor`, who is recognised and permitted. A second request with it waits
    for the first and gets its answer; where the first failed nothing is kept and the second creates.

    Errors: KeyOfOtherContent.
    """
    asked: _Claim | None = getattr(request.state, "claim", None)
    if asked is None or actor.id is None:
        return
    _forget_old(session)
    new = {
        "fingerprint": asked.fingerprint,
        "created_at": now(),
        "status": None,
        "headers": None,
        "body": None,
    }
    taken = (
        insert(IdempotencyKey)
        .values(actor_id=actor.id, key=asked.key, **new)
        .on_conflict_do_update(
            index_elements=["actor_id", "key"], set_=new, where=IdempotencyKey.created_at <= now() - KEPT
        )
        .returning(IdempotencyKey.key)
    )
    if session.scalar(taken) is not None:
        asked.session, asked.actor_id = session, actor.id
        return
    kept = session.get_one(IdempotencyKey, (actor.id, asked.key))
    if kept.fingerprint != asked.fingerprint:
        raise KeyOfOtherContent(
            faults=[Fault(f"/headers/{HEADER}", Text("换用新的标识", "use a new key for new content"))]
        )
    assert kept.status is not None
    raise _AnsweredBefore(Response(kept.body, kept.status, dict(kept.headers or {})))


def _keep(claim: _Claim, response: Response) -> None:
    if claim.session is None:  # nobody was recognised, so nothing was created
        return
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    mine = (IdempotencyKey.actor_id == claim.actor_id, IdempotencyKey.key == claim.key)
    values = {"status": response.status_code, "headers": headers, "body": bytes(response.body)}
    claim.session.execute(update(IdempotencyKey).where(*mine).values(values))


def _forget_old(session: Session) -> None:
    """Remove some of the keys whose time is over, of whomever; those another request removes are skipped."""
    columns = (IdempotencyKey.actor_id, IdempotencyKey.key)
    old = select(*columns).where(IdempotencyKey.created_at <= now() - KEPT).limit(FORGOTTEN_AT_ONCE)
    session.execute(
        delete(IdempotencyKey)
        .where(tuple_(*columns).in_(old.with_for_update(skip_locked=True)))
        .execution_options(synchronize_session=False)
    )
