"""Who may call which operation: one registry, one row for each operation, and the door that enforces it.

Owns roles and scopes per operation. What an actor is to an object (requester, provider, …) is asked
where the object is loaded; a route without a row here stops the service from starting.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from app.identity import reads
from app.identity.sessions import recognise
from app.kernel import idempotency
from app.kernel.actor import ROLE_NAMES, Actor, ActorKind, Lacking, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import NotPermitted, NotSignedIn
from app.kernel.limits import Limiter, Rates
from app.kernel.machine import Machine
from app.kernel.text import Text

log = logging.getLogger(__name__)

EVERY_ROLE = frozenset(Role)
# Where somebody tries to prove who they are.
PROVING = frozenset({"session.create", "token.issue", "console.enter", "session.finish_at_provider"})


@dataclass(frozen=True, slots=True)
class Permission:
    """One operation. `roles`: people in any of them; `scopes`: clients whose token has one (none: no client);
    `anonymous`: anyone; `authority`: only people of an authority."""

    operation: str
    roles: frozenset[Role]
    scopes: frozenset[Scope]
    anonymous: bool = False
    authority: bool = False


REGISTRY: dict[str, Permission] = {}

# What a person may do whose session still lacks something: see to it, or leave.
WHILE_LACKING: set[str] = set()


class SecondFactorMissing(NotPermitted):
    """The rule profile asks for a second factor in this role; the session opens nothing else until one counts."""

    slug = "second-factor-missing"
    title = Text("须先启用动态验证码", "Enrol a second factor first")


class PasswordTooOld(NotPermitted):
    slug = "password-too-old"
    title = Text("口令已过期，须先更换", "The password has expired: set a new one first")


def permit(
    *operations: str,
    roles: Iterable[Role] = EVERY_ROLE,
    scope: Scope | Iterable[Scope] = (),
    anonymous: bool = False,
    authority: bool = False,
) -> None:
    """Register operations with who may call them. One row for each operation, once."""
    scopes = frozenset({scope} if isinstance(scope, Scope) else scope)
    for operation in operations:
        row = Permission(operation, frozenset(roles), scopes, anonymous, authority)
        if REGISTRY.setdefault(operation, row) != row:
            raise ValueError(f"two permissions for {operation}")


def permit_acts(machine: Machine) -> None:
    """Register every act of a machine that a person may do as operation `kind.act`, roles from its rows.
    A client whose token has scope `clerk` may do what a clerk may."""
    for act in machine.acts:
        roles = frozenset(role for _, role in machine.by_whom(act) if role is not None)
        if roles:
            permit(f"{machine.kind}.{act}", roles=roles, scope=Scope.CLERK if Role.CLERK in roles else ())


def check(actor: Actor, operation: str) -> None:
    """Errors: NotSignedIn, NotPermitted (naming the roles that may)."""
    permission = REGISTRY[operation]
    if actor.lacks is not None and operation not in WHILE_LACKING and not permission.anonymous:
        raise SecondFactorMissing() if actor.lacks is Lacking.SECOND_FACTOR else PasswordTooOld()
    if permission.anonymous or actor.kind is ActorKind.SYSTEM:
        return
    if actor.kind is ActorKind.ANONYMOUS:
        raise NotSignedIn(headers={"WWW-Authenticate": "Bearer"})
    if actor.kind is ActorKind.CLIENT:
        if permission.scopes.isdisjoint(actor.scopes):
            raise NotPermitted(
                Text("此操作需要的授权范围：{scope}。", "This needs the scope: {scope}.").with_(
                    scope=", ".join(sorted(permission.scopes)) or Text("仅限人员", "people only")
                )
            )
        return
    if not permission.roles & actor.roles or (permission.authority and not actor.is_authority):
        if not permission.roles:
            raise NotPermitted(Text("此操作仅限应用系统。", "This is for systems, not for people."))
        names = [ROLE_NAMES[role] for role in sorted(permission.roles)]
        where = Text("主管部门的", "the authority's ") if permission.authority else Text("", "")
        raise NotPermitted(
            Text("此操作由{where}{zh}进行。", "This is for {where}{en}.").with_(
                where=where, zh="、".join(n.zh for n in names), en=", ".join(n.en for n in names)
            )
        )


def may(actor: Actor, operation: str) -> bool:
    """Whether the actor may call an operation at all; an operation that is not there nobody may."""
    if operation not in REGISTRY:
        return False
    try:
        check(actor, operation)
    except (NotSignedIn, NotPermitted):
        return False
    return True


class Permitted:
    """The door of one operation, as a FastAPI dependency: recognises the actor, asks the registry
    and takes the request's Idempotency-Key. Its `operation` is how start-up finds routes that lack a policy."""

    def __init__(self, operation: str) -> None:
        self.operation = operation

    def __call__(self, request: Request, session: DbSession) -> Actor:
        _count_stranger(request, self.operation)
        actor = recognise(request, session)
        _count(request, actor)
        try:
            check(actor, self.operation)
        except NotPermitted:
            log.info(
                "refused",
                extra={"operation": self.operation, "actor": str(actor.id), "agency": str(actor.agency_id)},
            )
            raise
        idempotency.claim(request, session, actor)
        reads.note(session, request, self.operation, actor)
        return actor


def _count_stranger(request: Request, operation: str) -> None:
    """Sign-ins and token requests are counted by address, before anything is looked up."""
    rates: Rates | None = request.app.state.settings.rates
    if rates is not None and operation in PROVING:
        limiter: Limiter = request.app.state.limiter
        limiter.take(f"proving {_address(request)}", rates.proving)


def _count(request: Request, actor: Actor) -> None:
    rates: Rates | None = request.app.state.settings.rates
    if rates is None:
        return
    limiter: Limiter = request.app.state.limiter
    if actor.id is None:
        limiter.take(f"address {_address(request)}", rates.address)
        return
    limiter.take(f"actor {actor.id}", rates.actor)
    limiter.take(f"agency {actor.agency_id}", rates.agency)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def permitted(operation: str) -> Any:
    """`actor: Annotated[Actor, permitted("negotiation.offer")]`: the actor, if it may call the operation."""
    return Depends(Permitted(operation), scope="function")


def operations_of(route: APIRoute) -> list[str]:
    """The operations whose doors guard a route, found through its dependency tree."""
    found: list[str] = []
    pending = list(route.dependant.dependencies)
    while pending:
        dependant = pending.pop()
        if isinstance(dependant.call, Permitted):
            found.append(dependant.call.operation)
        pending.extend(dependant.dependencies)
    return found


AnyActor = Annotated[Actor, Depends(recognise, scope="function")]
