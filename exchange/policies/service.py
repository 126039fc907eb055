"""Sharing policies (自动同意规则): consent that a provider's approver gives beforehand to what a rule names.

Owns the policies and which of them agree to given terms. A policy never widens what the law lets be shared.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, false, select, true
from sqlalchemy.orm import Session

from app.identity.models import Agency
from app.kernel import history, ledger
from app.kernel.actor import Actor, ActorKind
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted, SameHand
from app.kernel.machine import Party
from app.kernel.sight import seeing_all
from app.kernel.text import Text
from exchange.holdings import holdings_of
from exchange.policies.models import SharingPolicy
from exchange.policies.rule import PolicyRule, covers
from exchange.policies.states import IN_FORCE, POLICY
from exchange.scope import ScopeInvalid, parse_scope
from exchange.terms import ResourceTerms, Terms


def parties_of(actor: Actor, policy: SharingPolicy) -> frozenset[Party]:
    """A policy is its provider's alone."""
    return frozenset({"provider"}) if actor.agency_id == policy.provider_id else frozenset()


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """The SQL condition under which the actor may know of a policy."""
    if actor.kind is ActorKind.SYSTEM:
        return true()
    return SharingPolicy.provider_id == actor.agency_id if actor.agency_id else false()


def find_policy(session: Session, policy_id: UUID, *, by: Actor) -> SharingPolicy:
    """The policy, if the actor may know of it. Errors: NotFound."""
    policy = session.scalar(select(SharingPolicy).where(SharingPolicy.id == policy_id, visible_to(by)))
    if policy is None:
        raise NotFound()
    return policy


def list_policies(
    session: Session, *, by: Actor, resource_id: UUID | None, before: UUID | None, limit: int
) -> list[SharingPolicy]:
    """The policies of the actor's agency, newest first."""
    query = select(SharingPolicy).where(visible_to(by))
    if resource_id is not None:
        query = query.where(SharingPolicy.resource_id == resource_id)
    if before is not None:
        query = query.where(SharingPolicy.id < before)
    return list(session.scalars(query.order_by(SharingPolicy.id.desc()).limit(limit)))


def draft_policy(session: Session, *, resource_id: UUID, rule: PolicyRule, by: Actor) -> SharingPolicy:
    """Write a policy down for the approver. Errors: Invalid, NotPermitted."""
    if by.agency_id is None or by.id is None:
        raise NotPermitted()
    _require_sound(session, resource_id, rule, by.agency_id)
    policy = SharingPolicy(
        provider_id=by.agency_id, resource_id=resource_id, rule=rule.model_dump(mode="json"), author_id=by.id
    )
    data = {"resource": str(resource_id), "rule_hash": ledger.content_hash(policy.rule).hex()}
    history.create(session, policy, POLICY, "draft", by=by, parties=frozenset({"provider"}), data=data)
    return policy


def change_policy(
    session: Session, policy: SharingPolicy, act: str, *, by: Actor, reason: str | None, version: int
) -> None:
    """Do `act` (adopt, discard, revoke). Who wrote a policy does not adopt it. Errors: SameHand."""
    data = {"rule_hash": ledger.content_hash(policy.rule).hex()}
    if act == "adopt":
        if by.id == policy.author_id:
            raise SameHand(basis="809-20")
        policy.adopted_by = by.id
    history.advance(
        session, policy, POLICY, act, by=by, parties=parties_of(by, policy), expected_version=version,
        reason=reason, data=data,
    )  # fmt: skip


def allowed_acts(policy: SharingPolicy, *, by: Actor) -> list[str]:
    """The acts that the actor may do now."""
    acts = POLICY.allowed(policy.state, parties_of(by, policy), by.roles)
    return [act for act in acts if act != "adopt" or by.id != policy.author_id]


def covering(
    session: Session, *, requester_id: UUID, provider_id: UUID, terms: Terms, part: ResourceTerms
) -> UUID | None:
    """The policy in force that agrees to this part of the terms; None where no policy does."""
    query = select(SharingPolicy).where(
        SharingPolicy.resource_id == part.resource_id,
        SharingPolicy.provider_id == provider_id,
        SharingPolicy.state == IN_FORCE,
    )
    with seeing_all(session):  # the requester's filing is answered by what only the provider may read
        policies = session.scalars(query.order_by(SharingPolicy.id)).all()
    for policy in policies:
        if covers(PolicyRule.model_validate(policy.rule), requester_id, terms, part):
            return policy.id
    return None


def _require_sound(session: Session, resource_id: UUID, rule: PolicyRule, provider_id: UUID) -> None:
    holding = holdings_of(session, {resource_id}).get(resource_id)
    if holding is None or holding.agency_id != provider_id:
        message = Text("不是本单位已发布的资源", "not a published resource of your agency")
        raise Invalid(faults=[Fault("/resource_id", message)])
    faults = [
        Fault(f"/rule/items/{n}/code", Text("该资源没有这一信息项", "not an item of the resource"))
        for n, item in enumerate(rule.items)
        if item.code not in holding.items
    ]
    known = set(session.scalars(select(Agency.id).where(Agency.id.in_(rule.requesters))))
    faults += [
        Fault(f"/rule/requesters/{n}", Text("没有这个单位", "no such agency"))
        for n, agency_id in enumerate(rule.requesters)
        if agency_id not in known or agency_id == provider_id
    ]
    if rule.scope is not None:
        try:
            parse_scope(rule.scope)
        except ScopeInvalid as error:
            faults.append(Fault("/rule/scope", error.message))
    if faults:
        raise Invalid(faults=faults)
