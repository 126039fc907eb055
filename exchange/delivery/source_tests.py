"""Test calls (测试调用) as the centre knows them: a provider's source tried by the gateway that would fetch from it.

Owns which gateway tries it and what was found last. No value of any record reaches the centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.clock import new_id, now
from app.kernel.errors import Conflict
from app.kernel.seal import Seal
from app.kernel.text import Text
from catalog.resources.models import Resource
from exchange.delivery.models import ProviderSource, RegisteredGateway
from exchange.delivery.protocol import SourceTest, SourceTested
from exchange.delivery.providers import open_sources, source_of
from exchange.delivery.registry import gateway_for

ANSWERED_WITHIN = timedelta(
    minutes=2
)  # longer than a gateway waits for the slowest source and for the centre

Outcome = Literal["waiting", "passed", "failed", "unanswered"]


@dataclass(frozen=True, slots=True)
class LastTest:
    """The last test of a source: `gateway` is the address of the one that was asked; `told` what it found."""

    asked_at: datetime
    gateway: str
    outcome: Outcome
    told: SourceTested | None

    @property
    def message(self) -> Text:
        """The outcome in a sentence."""
        if self.told is not None and self.told.problem is not None:
            return Text(self.told.zh, self.told.en)
        if self.told is None:
            return _UNTOLD[self.outcome]
        if self.told.records and self.told.missing:
            return Text("可以取数，但缺少信息项", "Records can be fetched, and items are missing")
        if not self.told.records:
            return Text("可以连接，没有取到记录", "It can be reached, and gave no record")
        return Text("可以取数，信息项齐全", "Records can be fetched, with every item")


_UNTOLD = {
    "waiting": Text("网关正在测试", "The gateway is trying it"),
    "unanswered": Text("网关没有答复", "The gateway has not answered"),
}


def ask_for_test(session: Session, resource: Resource, *, by: Actor) -> ProviderSource:
    """测试数据源: have the gateway that would serve the resource fetch a few records, count them and see which items
    they carry. What the test before it found is forgotten. Errors: NotFound, Conflict."""
    source = source_of(session, resource)
    gateway = gateway_for(session, resource.agency_id)
    if gateway is None:
        raise Conflict(
            Text("没有已核准的网关可以访问该数据源。", "No approved gateway serves this provider.")
        )
    source.test_id, source.test_gateway_id, source.test_asked_at = new_id(), gateway.id, now()
    source.test_told = None
    session.flush()
    data = {"source_version": source.version, "gateway": str(gateway.id)}
    history.record(
        session, kind="source", subject_id=resource.id, act="test", by=by, party="owner", data=data
    )
    return source


def last_test(session: Session, source: ProviderSource) -> LastTest | None:
    """The last test of a source as it is registered now."""
    if source.test_asked_at is None:
        return None
    gateway = session.get_one(RegisteredGateway, source.test_gateway_id)
    told = None if source.test_told is None else msgspec.convert(source.test_told, SourceTested)
    outcome: Outcome = "waiting" if source.test_asked_at > now() - ANSWERED_WITHIN else "unanswered"
    if told is not None:
        outcome = "passed" if told.problem is None and told.records and not told.missing else "failed"
    return LastTest(source.test_asked_at, gateway.url, outcome, told)


def is_wanted_of(client_id: UUID | None) -> ColumnElement[bool]:
    """The condition on sources whose test the gateway with this client is to make now."""
    gateway = select(RegisteredGateway.id).where(RegisteredGateway.client_id == client_id).scalar_subquery()
    return (
        (ProviderSource.test_gateway_id == gateway)
        & ProviderSource.test_told.is_(None)
        & (ProviderSource.test_asked_at > now() - ANSWERED_WITHIN)
    )


def wanted_of(session: Session, gateway: Actor, seal: Seal) -> list[SourceTest]:
    """What this gateway is to try."""
    rows = session.execute(
        select(ProviderSource, Resource)
        .join(Resource, Resource.id == ProviderSource.resource_id)
        .where(is_wanted_of(gateway.id))
        .order_by(ProviderSource.test_id)
    ).all()
    sources = open_sources(session, (source.resource_id for source, _ in rows), seal)
    return [
        SourceTest(
            id=str(source.test_id), source=sources[source.resource_id],
            items=tuple(item["code"] for item in resource.record.get("items", ())),
        )
        for source, resource in rows
    ]  # fmt: skip


def take(session: Session, told: SourceTested, *, by: Actor) -> None:
    """Keep what a gateway found. What it was not asked, or asked no longer, is not kept."""
    source = session.scalar(
        select(ProviderSource)
        .where(ProviderSource.test_id == UUID(told.id), is_wanted_of(by.id))
        .with_for_update()
    )
    if source is not None:
        source.test_told = msgspec.to_builtins(told)
        session.flush()
