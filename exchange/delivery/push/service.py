"""Push subscriptions at the centre: a requester's client sets them up under an agreement whose method is push.

Owns what a subscription may say and who may change it. Refuses what the agreement does not cover, and targets
that no agency's system can be at.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.x509 import load_pem_x509_certificates
from pydantic import Field, StringConstraints
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel import history, ledger
from app.kernel.actor import Actor
from app.kernel.calendar import BEIJING
from app.kernel.clock import new_id, now
from app.kernel.errors import Fault, Invalid, NotFound, TooMany
from app.kernel.seal import Seal
from app.kernel.text import Text
from app.kernel.wire import ShortText, Wire
from exchange.agreements.models import Agreement
from exchange.compiler import OutsideTerms, compile_terms
from exchange.delivery import grants
from exchange.delivery.models import GrantIssued, ProviderSource
from exchange.delivery.providers import FRAMING, Address, HeaderName, HeaderValue, Word, url_faults
from exchange.delivery.push.models import PushSubscription
from exchange.delivery.push.states import ENDED, PUSH
from exchange.parties import parties_of, visible_to
from exchange.scope import ScopeInvalid
from exchange.terms import METHOD_NAMES, Code, Method, Terms

MOST_OF_AN_AGREEMENT = 20
_OWN_HEADERS = ("zhengtong-", "content-", "idempotency-key")
Pem = Annotated[str, StringConstraints(max_length=20_000)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]{0,200}$")]


class HttpTarget(Wire):
    """The requester's endpoint. `authority` is its own certificate authority (PEM)."""

    kind: Literal["http"] = "http"
    url: Address
    authority: Pem | None = None


class HttpTargetWanted(HttpTarget):
    """The endpoint with the headers that it knows us by."""

    headers: Annotated[dict[HeaderName, HeaderValue], Field(max_length=20)] = Field(default_factory=dict)

    def faults(self, *, private: bool) -> list[Fault]:
        own = Text("该请求头由平台填写", "this header is the exchange's own")
        return url_faults("/target/url", self.url, private=private) + [
            Fault(f"/target/headers/{name}", own)
            for name in self.headers
            if name.lower() in FRAMING or name.lower().startswith(_OWN_HEADERS)
        ]

    @property
    def credentials(self) -> dict[str, Any]:
        return {"headers": self.headers} if self.headers else {}


class S3Target(Wire):
    """A bucket that speaks the S3 API, addressed by path; parts are objects below `prefix`."""

    kind: Literal["s3"] = "s3"
    endpoint: Address
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Name = ""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] = "us-east-1"
    access_key: Annotated[str, StringConstraints(pattern=r"^[\x21-\x2b\x2d\x2e\x30-\x7e]{1,128}$")]
    authority: Pem | None = None


class S3TargetWanted(S3Target):
    """The bucket with the secret that requests to it are signed with (AWS Signature Version 4)."""

    secret_key: Word

    def faults(self, *, private: bool) -> list[Fault]:
        faults = url_faults("/target/endpoint", self.endpoint, private=private)
        if urlsplit(self.endpoint).query:
            faults.append(Fault("/target/endpoint", Text("不得含查询参数", "without a query")))
        return faults

    @property
    def credentials(self) -> dict[str, Any]:
        return {"secret_key": self.secret_key}


Target = Annotated[HttpTarget | S3Target, Field(discriminator="kind")]


class PushWanted(Wire):
    """What to deliver, where to and how often. `mode` is all agreed records each time, or after the first time those
    that changed; `items` and `filter` (CQL2) narrow what the agreement covers."""

    agreement_id: UUID
    resource_id: UUID
    purpose: ShortText
    items: Annotated[tuple[Code, ...], Field(min_length=1, max_length=500)] | None = None
    filter: Annotated[str, StringConstraints(min_length=1, max_length=4000, pattern=r"^[^\x00]*$")] | None = (
        None
    )
    mode: Literal["full", "changes"] = "changes"
    form: Literal["ndjson", "csv"] = "ndjson"
    every_minutes: Annotated[int, Field(ge=1, le=44_640)] = 60
    target: Annotated[HttpTargetWanted | S3TargetWanted, Field(discriminator="kind")]


def subscribe(
    session: Session, wanted: PushWanted, *, seal: Seal, private: bool, by: Actor
) -> PushSubscription:
    """订阅推送: deliver under an agreement of one's agency from now on. Errors: NotFound, NoGrantNow, Invalid, TooMany."""
    agreement = grants.requested_by(session, wanted.agreement_id, by)
    terms = agreement.typed
    grants.require_in_force(agreement, now())
    if faults := _faults(session, wanted, terms, private):
        raise Invalid(faults=faults, basis="809-20")
    session.refresh(agreement, with_for_update={"read": True})
    live = select(func.count()).where(
        PushSubscription.agreement_id == agreement.id, PushSubscription.state != ENDED
    )
    if session.scalar(live) == MOST_OF_AN_AGREEMENT:
        message = Text("每份协议至多 {n} 个推送订阅。", "At most {n} push subscriptions of an agreement.")
        raise TooMany(message.with_(n=MOST_OF_AN_AGREEMENT))
    assert by.id is not None
    assert by.agency_id is not None
    last_use = datetime.combine(agreement.valid_until + timedelta(days=1), time(), BEIJING)
    items = None if wanted.items is None else list(wanted.items)
    grant = GrantIssued(
        id=new_id(), created_at=now(), agreement_id=agreement.id, client_id=by.id, purpose=wanted.purpose,
        items=items, expires_at=last_use.astimezone(UTC),
    )  # fmt: skip
    session.add(grant)
    session.flush()
    secrets = wanted.target.credentials
    shown = wanted.target.model_dump(mode="json", exclude=set(secrets) | {"headers"})
    row = PushSubscription(
        agreement_id=agreement.id, resource_id=wanted.resource_id, grant_id=grant.id, client_id=by.id,
        agency_id=by.agency_id, purpose=wanted.purpose, items=items, filter=wanted.filter, mode=wanted.mode,
        form=wanted.form, every_minutes=wanted.every_minutes, target=shown, runs=0, mark="", basis="",
        credentials=seal.encrypt(json.dumps(secrets).encode()) if secrets else None,
    )  # fmt: skip
    data = {
        "agreement": str(agreement.id), "resource": str(wanted.resource_id), "mode": wanted.mode,
        "every_minutes": wanted.every_minutes, "target_sha256": ledger.content_hash(shown).hex(),
    }  # fmt: skip
    history.create(session, row, PUSH, "subscribe", by=by, parties=parties_of(by, agreement), data=data)
    return row


def _faults(session: Session, wanted: PushWanted, terms: Terms, private: bool) -> list[Fault]:
    faults = wanted.target.faults(private=private)
    if wanted.target.authority is not None:
        try:
            load_pem_x509_certificates(wanted.target.authority.encode())
        except ValueError:
            faults.append(Fault("/target/authority", Text("不是 PEM 证书", "not certificates in PEM")))
    if terms.method is not Method.PUSH:
        message = Text("协议约定的共享方式是{m}", "the agreed method is {m}").with_(
            m=METHOD_NAMES[terms.method]
        )
        return [*faults, Fault("/agreement_id", message, METHOD_NAMES[Method.PUSH])]
    if wanted.purpose not in {purpose.code for purpose in terms.purposes}:
        faults.append(Fault("/purpose", Text("用途不在约定之内", "not an agreed purpose")))
    try:
        # Whether the narrowing stays within the terms; no record is read here, so any key will do.
        compile_terms(
            terms, wanted.resource_id, mask_key=bytes(32), items=wanted.items, narrowed_by=wanted.filter
        )
    except OutsideTerms as error:
        named = "、".join(error.codes) or str(wanted.resource_id)
        message = Text(
            "“{named}”未约定提供或不得用作条件", "“{named}” is not agreed, or not to be filtered on"
        )
        faults.append(Fault("/items" if error.codes else "/resource_id", message.with_(named=named)))
    except ScopeInvalid as error:
        faults.append(Fault("/filter", error.message, Text("OGC CQL2 条件", "OGC CQL2")))
    source = session.get(ProviderSource, wanted.resource_id)
    if wanted.mode == "changes" and source is not None and source.kind != "table":
        message = Text("该数据源无法给出增量", "this source cannot tell what has changed")
        rule = Text(
            "mode 为 full；增量仅限 PostgreSQL 数据表", "mode full; changes come from PostgreSQL tables alone"
        )
        faults.append(Fault("/mode", message, rule))
    return faults


def find_subscription(session: Session, subscription_id: UUID, /, *, by: Actor) -> PushSubscription:
    """The subscription, if the actor may know of its agreement. Errors: NotFound."""
    query = select(PushSubscription).join(Agreement, Agreement.id == PushSubscription.agreement_id)
    row = session.scalar(query.where(PushSubscription.id == subscription_id, visible_to(by, Agreement)))
    if row is None:
        raise NotFound()
    return row


def list_subscriptions(
    session: Session, agreement: Agreement, *, before: UUID | None, limit: int
) -> list[PushSubscription]:
    """The subscriptions of an agreement, newest first."""
    query = select(PushSubscription).where(PushSubscription.agreement_id == agreement.id)
    if before is not None:
        query = query.where(PushSubscription.id < before)
    return list(session.scalars(query.order_by(PushSubscription.id.desc()).limit(limit)))


def change(
    session: Session, row: PushSubscription, act: str, *, reason: str | None, version: int, by: Actor
) -> None:
    """Do `act` (pause, resume, end). Errors: StaleVersion, WrongMoment, NotPermitted."""
    agreement = session.get_one(Agreement, row.agreement_id)
    history.advance(
        session,
        row,
        PUSH,
        act,
        by=by,
        parties=parties_of(by, agreement),
        expected_version=version,
        reason=reason,
    )


def allowed_acts(session: Session, row: PushSubscription, *, by: Actor) -> list[str]:
    """The acts that the actor may do now."""
    agreement = session.get_one(Agreement, row.agreement_id)
    return PUSH.allowed(row.state, parties_of(by, agreement), by.roles)
