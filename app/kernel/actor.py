"""Who acts: a person, an agency's system (client) or the service itself.

Owns roles and the value every write takes as `by=`. How an actor is recognised is `app.identity`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from app.kernel.text import DEFAULT_LOCALE, Locale, Text


class Role(StrEnum):
    """What a person may be for their agency (角色). The three administrators are separated (GB/T 22239)."""

    CLERK = "clerk"
    APPROVER = "approver"
    CATALOG_ADMINISTRATOR = "catalog_administrator"
    MEDIATOR = "mediator"
    SYSTEM_ADMINISTRATOR = "system_administrator"
    SECURITY_ADMINISTRATOR = "security_administrator"
    AUDIT_ADMINISTRATOR = "audit_administrator"


ROLE_NAMES: dict[Role, Text] = {
    Role.CLERK: Text("经办人", "clerk"),
    Role.APPROVER: Text("审核人", "approver"),
    Role.CATALOG_ADMINISTRATOR: Text("目录管理员", "catalog administrator"),
    Role.MEDIATOR: Text("协调员", "mediator"),
    Role.SYSTEM_ADMINISTRATOR: Text("系统管理员", "system administrator"),
    Role.SECURITY_ADMINISTRATOR: Text("安全管理员", "security administrator"),
    Role.AUDIT_ADMINISTRATOR: Text("审计管理员", "audit administrator"),
}


class Scope(StrEnum):
    """What a client's token may be used for (OAuth scope)."""

    CATALOG = "catalog"  # read the catalog as its agency does
    CLERK = "clerk"  # act as its agency's clerk
    PULL = "pull"  # ask for grants and fetch data
    GATEWAY = "gateway"  # be a gateway: agreements in, receipts out


class ActorKind(StrEnum):
    PERSON = "person"
    CLIENT = "client"
    SYSTEM = "system"
    ANONYMOUS = "anonymous"


class Lacking(StrEnum):
    """What a session lacks until its person has seen to it."""

    SECOND_FACTOR = "second_factor"  # the rule profile asks for one, and none is enrolled
    PASSWORD = "password"  # noqa: S105 - none is set yet, or the last one is too old


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, as recognised at the door. Immutable; handed to every service function as `by`."""

    kind: ActorKind
    id: UUID | None = None
    agency_id: UUID | None = None
    jurisdiction_id: UUID | None = None
    is_authority: bool = False  # the agency is the authority (信息化主管部门) of its jurisdiction
    roles: frozenset[Role] = field(default_factory=frozenset)
    scopes: frozenset[Scope] = field(default_factory=frozenset)
    name: str = ""
    locale: Locale = DEFAULT_LOCALE
    lacks: Lacking | None = None  # what a signed-in person must do before anything else
    bound_to: str | None = None  # a client's token is bound to the key with this thumbprint (DPoP)


ANONYMOUS = Actor(ActorKind.ANONYMOUS)


def system_actor(name: str) -> Actor:
    """The service itself acting by rule: the deadline sweep ("clock"), a policy, an operator's command."""
    return Actor(ActorKind.SYSTEM, name=name, roles=frozenset())
