"""Sign-in of people: one-time secrets, passwords, server-side sessions; and who a request comes from.

Owns `recognise`, the only place where a credential becomes an actor. Machine tokens are `tokens`'.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import argon2
from fastapi import Request, Response
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.identity import delegations, second_factor, tokens
from app.identity.breaches import is_breached
from app.identity.models import Agency, Jurisdiction, OneTimeSecret, Person, SignInSession
from app.identity.passwords import password_fault
from app.identity.profiles import Security, profile_for
from app.kernel import history
from app.kernel.actor import ANONYMOUS, Actor, ActorKind, Lacking, Role, system_actor
from app.kernel.clock import new_id, now
from app.kernel.db import Database, DbSession
from app.kernel.dpop import ALGORITHMS, ProofInvalid, read_proof
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted, NotSignedIn, WrongMoment
from app.kernel.seal import Seal
from app.kernel.sight import see_as
from app.kernel.text import Locale, Text, negotiate_locale

log = logging.getLogger(__name__)

SESSION_PREFIX = "zts_"  # a session token, beside which everything else in Authorization is a JWT
COOKIE = "zhengtong-session"
FORGET = {"Clear-Site-Data": '"cache", "storage"'}  # sent with every sign-out
HOST_COOKIE = "__Host-zhengtong-session"
ONE_TIME = timedelta(hours=24)
SEEN_EVERY = timedelta(minutes=1)  # `last_seen_at` is not written on every request

FRESH = timedelta(minutes=10)  # how long after signing in one may change how one signs in
THREE_ADMINISTRATORS = frozenset({
    Role.SYSTEM_ADMINISTRATOR, Role.SECURITY_ADMINISTRATOR, Role.AUDIT_ADMINISTRATOR,
})  # fmt: skip

_hasher = argon2.PasswordHasher()
SIGN_IN_REFUSED = Text(
    "登录名或口令不正确，或账号已锁定。", "Login or secret is not right, or the account is locked."
)


class SignInAgain(NotPermitted):
    """Whoever finds a session open is not to take the account over with it."""

    slug = "sign-in-again"
    title = Text("请重新登录后再进行此操作", "Sign in again, then do this")


def issue_one_time_secret(session: Session, person: Person, *, by: Actor, keep_earlier: bool = False) -> str:
    """A fresh secret that signs `person` in once within 24 hours; earlier unused ones stop working, unless
    they are kept."""
    if not keep_earlier:
        session.execute(
            update(OneTimeSecret)
            .where(OneTimeSecret.person_id == person.id, OneTimeSecret.used_at.is_(None))
            .values(used_at=now())
        )
    secret = secrets.token_urlsafe(18)
    session.add(OneTimeSecret(person_id=person.id, secret_hash=digest(secret), expires_at=now() + ONE_TIME))
    history.record(session, kind="person", subject_id=person.id, act="one_time_secret", by=by)
    return secret


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened: its token, told this once, and what it lacks."""

    person: Person
    token: str
    lacks: Lacking | None


def sign_in(
    session: Session,
    *,
    login: str,
    secret: str,
    seal: Seal,
    code: str | None = None,
    device: str | None = None,
) -> Opened | None:
    """A new session by password or one-time secret, with a code where the person has a second factor; or None
    where any of it, or the account, does not hold, alike for every cause. The count of failures is written, so
    a caller that refuses must still commit: it answers with a problem instead of raising one.
    Errors: SecondFactorNeeded where only the code is missing.
    """
    person = session.scalar(select(Person).where(Person.login == login).with_for_update())
    if person is None:
        _hasher.hash(secret)  # the same work as for a known login, so that time does not tell
        return None
    if person.locked_until is not None and person.locked_until > now():
        _hasher.hash(secret)
        return None
    rules = security_of(session, person)
    one_time = _one_time(session, person, secret)
    holds = person.active and (one_time is not None or _password_holds(person, secret))
    if holds and second_factor.is_enrolled(session, person):
        if not code:
            raise second_factor.SecondFactorNeeded()
        by = actor_of(session, person)
        holds = second_factor.holds(session, person, code, seal, by=by)
    if not holds:
        log.info("sign-in refused", extra={"person": str(person.id)})
        person.failures += 1
        if person.failures >= rules.lock_after:
            person.failures, person.locked_until = 0, now() + timedelta(minutes=rules.lock_minutes)
            history.record(
                session, kind="person", subject_id=person.id, act="lock", by=system_actor("sign-in")
            )
        return None
    person.failures, person.locked_until = 0, None
    if one_time is not None:
        one_time.used_at = now()
    return open_session(session, person, device=device)


def open_session(
    session: Session, person: Person, *, device: str | None = None, two_factors: bool = False
) -> Opened:
    """A session for a person who has proved who they are: here, or (with `two_factors`, where it says so) at
    the identity provider. Its token is new with every sign-in."""
    rules = security_of(session, person)
    enrolled = two_factors or second_factor.is_enrolled(session, person)
    token = SESSION_PREFIX + secrets.token_urlsafe(32)
    row = SignInSession(
        token_hash=digest(token), person_id=person.id, device=device and device[:200],
        expires_at=now() + timedelta(hours=rules.session_hours), idle=timedelta(minutes=rules.idle_minutes),
        lacks=None if enrolled or not set(person.roles) & set(rules.second_factor_roles) else Lacking.SECOND_FACTOR,
    )  # fmt: skip
    if row.lacks is None and person.password_set_at is not None:
        too_old = person.password_set_at + timedelta(days=rules.password_days) <= now()
        row.lacks = Lacking.PASSWORD if too_old and not two_factors else None
    session.add(row)
    history.record(
        session,
        kind="person",
        subject_id=person.id,
        act="sign_in",
        by=actor_of(session, person),
        ledgered=False,
    )
    return Opened(person, token, Lacking(row.lacks) if row.lacks else None)


def security_of(session: Session, person: Person) -> Security:
    """The rules of the profile where the person's agency belongs."""
    return profile_for(session, session.get_one(Agency, person.agency_id).jurisdiction_id).security


def sign_out(session: Session, token: str) -> None:
    """End the session of this token."""
    session.execute(
        update(SignInSession).where(SignInSession.token_hash == digest(token)).values(revoked_at=now())
    )


def sessions_of(session: Session, person_id: UUID) -> list[SignInSession]:
    """Where a person is signed in now, newest first."""
    moment = now()
    query = select(SignInSession).where(
        SignInSession.person_id == person_id, SignInSession.revoked_at.is_(None),
        SignInSession.expires_at > moment, SignInSession.last_seen_at + SignInSession.idle > moment,
    )  # fmt: skip
    return list(session.scalars(query.order_by(SignInSession.created_at.desc()).limit(100)))


def end_sessions(
    session: Session, person_id: UUID, *, only: UUID | None = None, except_token: str | None = None
) -> int:
    """End a person's sessions, one of them by its id, or all but that of a token; gives how many ended."""
    query = update(SignInSession).where(
        SignInSession.person_id == person_id, SignInSession.revoked_at.is_(None)
    )
    if only is not None:
        query = query.where(SignInSession.id == only)
    if except_token is not None:
        query = query.where(SignInSession.token_hash != digest(except_token))
    ended = session.execute(query.values(revoked_at=now()).returning(SignInSession.id))
    return len(ended.all())


def require_fresh(session: Session, token: str) -> None:
    """A sensitive change of one's own account follows a sign-in of the last minutes. Errors: SignInAgain."""
    begun = session.scalar(select(SignInSession.created_at).where(SignInSession.token_hash == digest(token)))
    if begun is None or begun + FRESH <= now():
        raise SignInAgain()


def settle(session: Session, token: str) -> None:
    """The session has what it lacked."""
    session.execute(update(SignInSession).where(SignInSession.token_hash == digest(token)).values(lacks=None))


def set_password(
    session: Session,
    *,
    password: str,
    current: str | None,
    by: Actor,
    keep: str,
    breached: Path | None = None,
) -> None:
    """Set the acting person's own password, which takes the `current` one where there is one; their other sessions end, that of the token `keep` goes on.
    Errors: Invalid where it is too simple, widely used (GB/T 22239) or breached, by the list `breached` too."""
    if by.kind is not ActorKind.PERSON or by.id is None:
        raise NotPermitted()
    person = session.get_one(Person, by.id)
    rules = security_of(session, person)
    if person.password_hash is not None and not _password_holds(person, current or ""):
        raise Invalid(faults=[Fault("/current", Text("现用口令不正确", "the present password is not right"))])
    if fault := password_fault(password, person.login, rules.password_length, rules.password_kinds):
        rule = Text("GB/T 22239 三级", "GB/T 22239 level 3")
        raise Invalid(faults=[Fault("/password", fault, rule)])
    if is_breached(password, breached):
        known = Text("口令见于已泄露的口令表", "known from breaches of passwords")
        raise Invalid(faults=[Fault("/password", known)])
    if _password_holds(person, password):
        raise Invalid(faults=[Fault("/password", Text("不得与现用口令相同", "the same as the present one"))])
    person.password_hash, person.password_set_at = _hasher.hash(password), now()
    end_sessions(session, person.id, except_token=keep)
    if by.lacks is Lacking.PASSWORD:
        settle(session, keep)
    history.record(session, kind="person", subject_id=by.id, act="set_password", by=by)


def set_active(session: Session, person: Person, active: bool, *, reason: str, by: Actor) -> None:
    """Suspend a person, which ends every session at once, or let them work again.
    Errors: WrongMoment where it already is so, NotPermitted for oneself."""
    if person.id == by.id:
        raise NotPermitted(Text("不能停用或恢复本人。", "Nobody suspends or resumes themselves."))
    session.refresh(person, with_for_update=True)
    if person.active == active:
        raise WrongMoment(
            Text("该人员已在使用中。", "The person is active.")
            if active
            else Text("该人员已被停用。", "The person is suspended.")
        )
    person.active = active
    end_sessions(session, person.id)
    act = "resume" if active else "suspend"
    history.record(session, kind="person", subject_id=person.id, act=act, by=by, reason=reason)


def register_person(
    session: Session,
    *,
    login: str,
    name: str,
    agency_id: UUID,
    roles: frozenset[Role],
    by: Actor,
    contractor: bool = False,
    provider_subject: str | None = None,
) -> Person:
    """Register a person of an agency. Errors: Invalid (two of the three administrators on one person, rights
    to data for a contractor)."""
    faults = _role_faults(roles, contractor)
    if session.scalar(select(Person.id).where(Person.login == login)):
        faults.append(Fault("/login", Text("登录名已被使用", "the login is taken")))
    if session.get(Agency, agency_id) is None:
        faults.append(Fault("/agency_id", Text("没有这个单位", "no such agency")))
    if faults:
        raise Invalid(faults=faults)
    person = Person(
        id=new_id(), login=login, name=name, agency_id=agency_id, roles=sorted(roles), contractor=contractor,
        provider_subject=provider_subject,
    )  # fmt: skip
    session.add(person)
    session.flush()
    history.record(
        session, kind="person", subject_id=person.id, act="register", by=by,
        data={"agency": str(agency_id), "roles": sorted(roles)},
    )  # fmt: skip
    return person


def require_separated(roles: Set[Role], contractor: bool) -> None:
    """Errors: Invalid where nobody may hold all these roles at once."""
    if faults := _role_faults(roles, contractor):
        raise Invalid(faults=faults)


def _role_faults(roles: Set[Role], contractor: bool) -> list[Fault]:
    faults = []
    if len(roles & THREE_ADMINISTRATORS) > 1:
        message = Text(
            "系统、安全、审计管理员不得由同一人担任", "nobody holds two of the three administrators"
        )
        faults.append(Fault("/roles", message, Text("GB/T 22239 三权分立", "GB/T 22239, separation")))
    if contractor and not roles <= {Role.SYSTEM_ADMINISTRATOR}:
        message = Text("外包人员不得拥有数据权限", "a contractor has no rights to data")
        rule = Text("GB/T 22239 外部人员访问管理", "GB/T 22239, outside staff")
        faults.append(Fault("/roles", message, rule))
    return faults


def actor_of(session: Session, person: Person) -> Actor:
    """The actor a person is, with the roles and agency they have now."""
    row = session.execute(_ACTING.where(Person.id == person.id)).one()
    return _actor(*row)


_ACTING = (
    select(Person, Agency.jurisdiction_id, Jurisdiction.authority_id)
    .join(Agency, Agency.id == Person.agency_id)
    .join(Jurisdiction, Jurisdiction.id == Agency.jurisdiction_id)
)


def _actor(person: Person, jurisdiction_id: UUID, authority_id: UUID | None) -> Actor:
    return Actor(
        ActorKind.PERSON, person.id, person.agency_id, jurisdiction_id, authority_id == person.agency_id,
        roles=frozenset(Role(role) for role in person.roles), name=person.name, locale=_locale(person.locale),
    )  # fmt: skip


def recognise(request: Request, session: DbSession) -> Actor:
    """Who sends this request: by session token, access token or session cookie; ANONYMOUS without any.

    A credential that does not hold is refused, never taken for none. Errors: NotSignedIn, NotPermitted.
    """
    sent = request.headers.getlist("authorization")
    if sent:
        scheme, _, credential = sent[0].partition(" ")
        if len(sent) > 1 or scheme.lower() not in ("bearer", "dpop") or not credential:
            raise NotSignedIn(headers={"WWW-Authenticate": "Bearer"})
        if credential.startswith(SESSION_PREFIX):
            actor = _by_session(session, credential) if scheme.lower() == "bearer" else None
        else:
            actor = _by_token(request, session, scheme.lower(), credential)
    elif (cookie := request.cookies.get(cookie_name(request))) is not None:
        require_same_origin(request)
        actor = _by_session(session, cookie)
    else:
        return ANONYMOUS
    if actor is None:
        raise NotSignedIn(headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
    if agency := request.headers.get(delegations.HEADER):
        actor = delegations.acting_for(session, actor, agency)
    asked = request.headers.get("accept-language")
    request.state.locale = negotiate_locale(asked) if asked else actor.locale
    request.state.actor = actor
    see_as(session, actor)
    return actor


def _by_token(request: Request, session: Session, scheme: str, credential: str) -> Actor | None:
    """The client of an access token. A bound one comes with a proof of its key (RFC 9449 §7) and never as
    Bearer. Errors: NotSignedIn."""
    issuer: tokens.TokenIssuer = request.app.state.tokens
    token = tokens.read_token(issuer, credential, now())
    if token is None:
        return None
    if (token.bound_to is None) != (scheme == "bearer"):
        raise _proof_refused("invalid_token", "the token and the scheme do not go together")
    if token.bound_to is not None:
        proofs = request.headers.getlist("dpop")
        try:
            if len(proofs) != 1:
                raise ProofInvalid("one DPoP header with one proof")
            proof = read_proof(
                proofs[0], method=request.method, url=issuer.issuer + request.scope["raw_path"].decode("latin-1").partition("?")[0], at=now(),
                token=credential, bound_to=token.bound_to,
            )  # fmt: skip
        except ProofInvalid as error:
            raise _proof_refused("invalid_dpop_proof", str(error)) from None
        # In a transaction of its own, before this request's has begun: a proof stays used whatever follows.
        database: Database = request.app.state.database
        with database.transaction() as own:
            if not tokens.use_proof(own, proof):
                raise _proof_refused("invalid_dpop_proof", "the proof has been used")
    return tokens.actor_of_token(session, token)


def _proof_refused(error: str, why: str) -> NotSignedIn:
    challenge = f'DPoP error="{error}", algs="{" ".join(ALGORITHMS)}"'
    detail = Text("绑定令牌的使用被拒绝：{why}。", "The bound token was refused: {why}.").with_(why=why)
    return NotSignedIn(detail, headers={"WWW-Authenticate": challenge})


def give_cookie(request: Request, response: Response, token: str) -> None:
    """Let the browser carry the session."""
    name = cookie_name(request)
    response.set_cookie(name, token, httponly=True, samesite="lax", secure=name == HOST_COOKIE, path="/")


def take_cookie(request: Request, response: Response) -> None:
    """Let the browser forget the session."""
    name = cookie_name(request)
    response.delete_cookie(name, httponly=True, samesite="lax", secure=name == HOST_COOKIE, path="/")


def session_token(request: Request) -> str:
    """The session token that a request carries, in its header or its cookie; "" without one."""
    carried = request.headers.get("authorization", "").partition(" ")[2]
    return carried or request.cookies.get(cookie_name(request), "")


def local_address(address: str) -> str:
    """An address of this service alone: whoever sends a link must not choose where sign-in leads."""
    return address if address.startswith("/") and not address.startswith(("//", "/\\")) else "/"


def cookie_name(request: Request) -> str:
    """Over https the `__Host-` name, which browsers take from this host alone, for all of it, and only secure.
    A try-out over http has no such cookie."""
    return HOST_COOKIE if is_secure(request) else COOKIE


def is_secure(request: Request) -> bool:
    """Whether cookies are for https alone: as the service's address has it, whatever proxy stands between."""
    public_url: str = request.app.state.settings.public_url
    return public_url.startswith("https:")


def require_same_origin(request: Request) -> None:
    """Refuse a change that another site's page sends with our cookie (Fetch Metadata, else Origin)."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    own = {request.app.state.settings.public_url, f"{request.url.scheme}://{request.url.netloc}"}
    if site in ("same-origin", "none") or (site is None and (origin is None or origin in own)):
        return
    raise NotPermitted(Text("请求来自其他网站。", "The request comes from another site."))


def _by_session(session: Session, token: str) -> Actor | None:
    moment = now()
    # One statement: every request of a person begins with it.
    query = _ACTING.add_columns(SignInSession).join(SignInSession, SignInSession.person_id == Person.id)
    found = session.execute(query.where(SignInSession.token_hash == digest(token))).first()
    if found is None:
        return None
    person, jurisdiction_id, authority_id, row = found
    if row.revoked_at is not None or row.expires_at <= moment or row.last_seen_at + row.idle <= moment:
        return None
    if not person.active:
        return None
    if row.last_seen_at + SEEN_EVERY <= moment:
        row.last_seen_at = moment
    lacks = Lacking(row.lacks) if row.lacks else None
    return replace(_actor(person, jurisdiction_id, authority_id), lacks=lacks)


def _one_time(session: Session, person: Person, secret: str) -> OneTimeSecret | None:
    return session.scalar(
        select(OneTimeSecret).where(
            OneTimeSecret.secret_hash == digest(secret),
            OneTimeSecret.person_id == person.id,
            OneTimeSecret.used_at.is_(None),
            OneTimeSecret.expires_at > now(),
        )
    )


def _password_holds(person: Person, secret: str) -> bool:
    if person.password_hash is None:
        _hasher.hash(secret)
        return False
    try:
        return _hasher.verify(person.password_hash, secret)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def person_by_login(session: Session, login: str) -> Person:
    """Errors: NotFound."""
    person = session.scalar(select(Person).where(Person.login == login))
    if person is None:
        raise NotFound()
    return person


def _locale(value: str) -> Locale:
    return "en" if value == "en" else "zh-CN"


def digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()
