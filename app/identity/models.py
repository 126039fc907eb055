"""Tables of identity: jurisdictions, agencies, people, clients, sessions, rule profiles, calendars."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, String, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kernel.clock import new_id, now
from app.kernel.db import Base, Identified


class Jurisdiction(Base, Identified):
    """行政区划: a node of the tree nation, province, city, district (GB/T 2260)."""

    __tablename__ = "jurisdiction"

    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    name_en: Mapped[str]
    level: Mapped[int] = mapped_column(CheckConstraint("level BETWEEN 0 AND 4", name="level"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("jurisdiction.id"))
    path: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))  # from the root down to itself
    authority_id: Mapped[UUID | None] = mapped_column(ForeignKey("agency.id", use_alter=True))


class Agency(Base, Identified):
    """国家机关 / 单位. `verified` is false for those an import met before the authority registered them."""

    __tablename__ = "agency"

    name: Mapped[str]
    name_en: Mapped[str | None]
    credit_code: Mapped[str | None] = mapped_column(unique=True)  # GB 32100
    local_code: Mapped[str | None]  # the code another catalog uses for it
    jurisdiction_id: Mapped[UUID] = mapped_column(ForeignKey("jurisdiction.id"))
    responsible_leader: Mapped[str | None]  # 主管负责人, Regulation Art. 40
    internal_office: Mapped[str | None]  # 内部机构, Regulation Art. 40
    verified: Mapped[bool] = mapped_column(default=True)

    __table_args__ = (
        Index("uq_agency_name", "jurisdiction_id", "name", unique=True),
        Index("uq_agency_local_code", "jurisdiction_id", "local_code", unique=True),
    )


class Person(Base, Identified):
    """Someone who acts for one agency, in the roles listed."""

    __tablename__ = "person"

    login: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    roles: Mapped[list[str]] = mapped_column(ARRAY(String))
    locale: Mapped[str] = mapped_column(default="zh-CN")
    active: Mapped[bool] = mapped_column(default=True)
    password_hash: Mapped[str | None]
    failures: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]
    password_set_at: Mapped[datetime | None]
    # Staff of a supplier (外包人员): keeps systems running, never sees or decides on data.
    contractor: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    # Who they are at the identity provider, where they sign in there.
    provider_subject: Mapped[str | None] = mapped_column(unique=True)

    __table_args__ = (
        CheckConstraint(
            "NOT contractor OR roles <@ ARRAY['system_administrator']::varchar[]", name="contractor"
        ),
        # The three administrators are separated (GB/T 22239): nobody holds two of them.
        CheckConstraint(
            "(('system_administrator' = ANY(roles))::int + ('security_administrator' = ANY(roles))::int"
            " + ('audit_administrator' = ANY(roles))::int) <= 1",
            name="administrators_separated",
        ),
    )


class OneTimeSecret(Base, Identified):
    """A secret that signs one person in once, until it expires. Only its hash is kept."""

    __tablename__ = "one_time_secret"

    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SignInSession(Base):
    """A signed-in person. Only the hash of the token is kept; `id` is what its owner may know it by."""

    __tablename__ = "sign_in_session"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True, default=new_id, server_default=text("gen_random_uuid()"))
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    device: Mapped[str | None]  # the browser or program, as it calls itself
    lacks: Mapped[str | None]  # what must be seen to before anything else (Lacking)
    idle: Mapped[timedelta] = mapped_column(server_default=text("'30 minutes'"))


class SecondFactor(Base):
    """A person's authenticator (TOTP, RFC 6238). It counts once a code from it was `confirmed_at`."""

    __tablename__ = "second_factor"

    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)  # with the service's own key
    created_at: Mapped[datetime] = mapped_column(default=now)
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int] = mapped_column(
        BigInteger, default=0
    )  # of the last code taken: none is taken twice


class RecoveryCode(Base):
    """A code that stands in once for a lost authenticator. Only its hash is kept."""

    __tablename__ = "recovery_code"

    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    used_at: Mapped[datetime | None]


class ProviderSignIn(Base):
    """A sign-in that is under way at the identity provider; used once, or forgotten after ten minutes."""

    __tablename__ = "provider_sign_in"

    state_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    binding_hash: Mapped[bytes] = mapped_column(LargeBinary)  # of the cookie in the browser that began it
    nonce: Mapped[str]
    verifier: Mapped[str]  # PKCE (RFC 7636)
    back: Mapped[str]  # the page that the person came from
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Delegation(Base, Identified):
    """授权代办: people of `to_agency_id` act for `for_agency_id` in these roles, until a date at most."""

    __tablename__ = "delegation"

    for_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    to_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    roles: Mapped[list[str]] = mapped_column(ARRAY(String))
    reason: Mapped[str]
    until: Mapped[date]  # its last day
    given_by: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    ended_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("for_agency_id <> to_agency_id", name="two_agencies"),)


class Client(Base, Identified):
    """应用系统: an agency's system. `name` is its OAuth client_id."""

    __tablename__ = "client"

    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String))
    active: Mapped[bool] = mapped_column(default=True)
    jwks_uri: Mapped[str | None]  # where it publishes its keys, beside those that were uploaded
    dpop_bound: Mapped[bool] = mapped_column(default=False)  # has bound tokens alone (RFC 9449 §5.2)
    keys: Mapped[list[ClientKey]] = relationship(lazy="raise", back_populates="client")


class ClientKey(Base, Identified):
    """A public key of a client (RFC 7517)."""

    __tablename__ = "client_key"

    client_id: Mapped[UUID] = mapped_column(ForeignKey("client.id"))
    kid: Mapped[str]
    jwk: Mapped[dict[str, Any]] = mapped_column(JSONB)
    active: Mapped[bool] = mapped_column(default=True)
    client: Mapped[Client] = relationship(lazy="raise", back_populates="keys")

    __table_args__ = (Index("uq_client_key_kid", "client_id", "kid", unique=True),)


class UsedAssertion(Base):
    """A `jti` that has been presented, kept until the assertion would have expired (RFC 7523 §3)."""

    __tablename__ = "used_assertion"

    client_id: Mapped[UUID] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class UsedProof(Base):
    """A DPoP proof that has been presented, kept as long as it would be accepted (RFC 9449 §11.1)."""

    __tablename__ = "used_proof"

    thumbprint: Mapped[str] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class RuleProfileRow(Base, Identified):
    """规则方案: a jurisdiction's rules from a date on. The nearest one up the tree applies."""

    __tablename__ = "rule_profile"

    jurisdiction_id: Mapped[UUID | None] = mapped_column(ForeignKey("jurisdiction.id"))  # None: everywhere
    effective_from: Mapped[date]
    profile: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (
        Index(
            "uq_rule_profile", "jurisdiction_id", "effective_from",
            unique=True, postgresql_nulls_not_distinct=True,
        ),
    )  # fmt: skip


class CalendarYear(Base):
    """A year of a calendar whose arrangement has been published and imported."""

    __tablename__ = "calendar_year"

    calendar: Mapped[str] = mapped_column(primary_key=True)
    year: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    days: Mapped[dict[str, bool]] = mapped_column(JSONB)  # ISO date → worked; only those unlike Monday-Friday
    imported_at: Mapped[datetime] = mapped_column(default=now, server_default=text("now()"))
