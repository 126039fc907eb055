"""REST of sharing policies."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.identity.cases import Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import ExpectedVersion, Label, Page, Paging, Wire, page, set_version
from exchange.policies import service
from exchange.policies.models import SharingPolicy
from exchange.policies.rule import PolicyRule
from exchange.policies.states import POLICY
from exchange.wire import OptionalReason, Reason

router = APIRouter(prefix="/api/v1/policies", tags=["policies"], route_class=CreatingRoute)

permit_acts(POLICY)
permit(
    "policy.list",
    "policy.read",
    "policy.events",
    roles=(Role.CLERK, Role.APPROVER, Role.AUDIT_ADMINISTRATOR),
    scope=Scope.CLERK,
)


class NewPolicy(Wire):
    """A rule over one of one's own resources."""

    resource_id: UUID
    rule: PolicyRule


class PolicyOut(Wire):
    """A policy and what the reader may do with it now."""

    id: UUID
    resource_id: UUID
    state: str
    state_name: Label
    version: int
    rule: PolicyRule
    author_id: UUID
    adopted_by: UUID | None
    created_at: datetime
    updated_at: datetime
    allowed: list[str]


class Chosen(Paging):
    """Filters of the list."""

    resource: UUID | None = None


def _asked(act: str) -> Any:
    return guarded(f"policy.{act}", service.find_policy)


@router.get("", operation_id="policy.list")
def list_policies(
    session: DbSession, actor: Annotated[Actor, permitted("policy.list")], chosen: Annotated[Chosen, Query()]
) -> Page[PolicyOut]:
    """The policies of one's own agency, newest first."""
    rows = service.list_policies(
        session, by=actor, resource_id=chosen.resource, before=chosen.before, limit=chosen.fetch
    )
    return page(rows, chosen.limit, lambda shown: [_told(row, actor) for row in shown])


@router.post("", operation_id="policy.draft", status_code=201, openapi_extra=ONCE)
def draft_policy(
    body: NewPolicy,
    session: DbSession,
    actor: Annotated[Actor, permitted("policy.draft")],
    response: Response,
) -> PolicyOut:
    """拟定: write a policy for the approver to adopt."""
    policy = service.draft_policy(session, resource_id=body.resource_id, rule=body.rule, by=actor)
    response.headers["Location"] = f"{router.prefix}/{policy.id}"
    return represent(Asked(session, policy, actor, response))


@router.get("/{id}", operation_id="policy.read")
def read_policy(asked: Annotated[Asked[SharingPolicy], _asked("read")]) -> PolicyOut:
    """One policy."""
    return represent(asked)


@router.get("/{id}/events", operation_id="policy.events")
def list_events(asked: Annotated[Asked[SharingPolicy], _asked("events")]) -> list[EventOut]:
    """The policy's history, oldest first."""
    return events_out(asked.session, POLICY, asked.case.id)


@router.post("/{id}/adopt", operation_id="policy.adopt")
def adopt(
    asked: Annotated[Asked[SharingPolicy], _asked("adopt")], body: OptionalReason, version: ExpectedVersion
) -> PolicyOut:
    """批准: the policy agrees from now on to what it covers."""
    return _change(asked, "adopt", body.reason, version)


@router.post("/{id}/discard", operation_id="policy.discard")
def discard(
    asked: Annotated[Asked[SharingPolicy], _asked("discard")], body: OptionalReason, version: ExpectedVersion
) -> PolicyOut:
    """作废: give a draft up."""
    return _change(asked, "discard", body.reason, version)


@router.post("/{id}/revoke", operation_id="policy.revoke")
def revoke(
    asked: Annotated[Asked[SharingPolicy], _asked("revoke")], body: Reason, version: ExpectedVersion
) -> PolicyOut:
    """撤销: it agrees to nothing more; agreements it made stand."""
    return _change(asked, "revoke", body.reason, version)


def _change(asked: Asked[SharingPolicy], act: str, reason: str | None, version: int) -> PolicyOut:
    service.change_policy(asked.session, asked.case, act, by=asked.by, reason=reason, version=version)
    return represent(asked)


def represent(asked: Asked[SharingPolicy]) -> PolicyOut:
    """The policy as it is told to the asking actor, its version in ETag."""
    set_version(asked.response, asked.case.version)
    return _told(asked.case, asked.by)


def _told(policy: SharingPolicy, actor: Actor) -> PolicyOut:
    return PolicyOut(
        id=policy.id,
        resource_id=policy.resource_id,
        state=policy.state,
        state_name=Label.of(POLICY.states[policy.state]),
        version=policy.version,
        rule=PolicyRule.model_validate(policy.rule),
        author_id=policy.author_id,
        adopted_by=policy.adopted_by,
        created_at=policy.created_at,
        updated_at=policy.updated_at,
        allowed=service.allowed_acts(policy, by=actor),
    )
