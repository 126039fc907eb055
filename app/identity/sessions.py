"""Sign-in of people: one-time secrets, passwords, server-side sessions; and who a request comes from.

Owns `recognise`, the only place where a credential becomes an actor. Machine tokens are `tokens`'.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

import argon2
from fastapi import Request, Response
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.identity import tokens
from app.identity.models import Agency, Jurisdiction, OneTimeSecret, Person, SignInSession
from app.kernel import history
from app.kernel.actor import ANONYMOUS, Actor, ActorKind, Role
from app.kernel.clock import new_id, now
from app.kernel.db import Database, DbSession
from app.kernel.dpop import ALGORITHMS, ProofInvalid, read_proof
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted, NotSignedIn
from app.kernel.text import Locale, Text, negotiate_locale

SESSION_PREFIX = "zts_"  # a session token, beside which everything else in Authorization is a JWT
COOKIE = "zhengtong-session"
HOST_COOKIE = "__Host-zhengtong-session"
IDLE = timedelta(minutes=30)  # GB/T 22239 level 3
ABSOLUTE = timedelta(hours=8)
ONE_TIME = timedelta(hours=24)
LOCK_AFTER = 5
LOCK_FOR = timedelta(minutes=30)
SEEN_EVERY = timedelta(minutes=1)  # `last_seen_at` is not written on every request

_hasher = argon2.PasswordHasher()
SIGN_IN_REFUSED = Text(
    "登录名或口令不正确，或账号已锁定。", "Login or secret is not right, or the account is locked."
)


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
    session.add(OneTimeSecret(person_id=person.id, secret_hash=_digest(secret), expires_at=now() + ONE_TIME))
    history.record(session, kind="person", subject_id=person.id, act="one_time_secret", by=by)
    return secret


def sign_in(session: Session, *, login: str, secret: str) -> tuple[Person, str] | None:
    """The person and a new session token, or None where the login, the secret or the account does not
    hold, alike for every cause. The count of failures is written, so a caller that refuses must still
    commit: it answers with a problem instead of raising one.
    """
    person = session.scalar(select(Person).where(Person.login == login).with_for_update())
    if person is None:
        _hasher.hash(secret)  # the same work as for a known login, so that time does not tell
        return None
    if person.locked_until is not None and person.locked_until > now():
        return None
    if not person.active or not (_use_one_time(session, person, secret) or _password_holds(person, secret)):
        person.failures += 1
        if person.failures >= LOCK_AFTER:
            person.failures, person.locked_until = 0, now() + LOCK_FOR
        return None
    person.failures, person.locked_until = 0, None
    token = SESSION_PREFIX + secrets.token_urlsafe(32)
    session.add(SignInSession(token_hash=_digest(token), person_id=person.id, expires_at=now() + ABSOLUTE))
    return person, token


def sign_out(session: Session, token: str) -> None:
    """End the session of this token."""
    session.execute(
        update(SignInSession).where(SignInSession.token_hash == _digest(token)).values(revoked_at=now())
    )


def set_password(session: Session, *, password: str, by: Actor) -> None:
    """Set the acting person's own password. Errors: Invalid where it is too simple (GB/T 22239)."""
    kinds = sum(
        any(test(c) for c in password)
        for test in (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
    )
    if not 8 <= len(password) <= 128 or kinds < 3:
        message = Text(
            "口令须 8 至 128 个字符，含大写、小写、数字、符号中的三类", "8 to 128 characters of three kinds"
        )
        raise Invalid(faults=[Fault("/password", message, Text("GB/T 22239 三级", "GB/T 22239 level 3"))])
    if by.kind is not ActorKind.PERSON or by.id is None:
        raise NotPermitted()
    session.get_one(Person, by.id).password_hash = _hasher.hash(password)
    history.record(session, kind="person", subject_id=by.id, act="set_password", by=by)


def register_person(
    session: Session, *, login: str, name: str, agency_id: UUID, roles: frozenset[Role], by: Actor
) -> Person:
    """Register a person of an agency. Errors: Invalid (two of the three administrators on one person)."""
    administrators = roles & {
        Role.SYSTEM_ADMINISTRATOR,
        Role.SECURITY_ADMINISTRATOR,
        Role.AUDIT_ADMINISTRATOR,
    }
    faults: list[Fault] = []
    if len(administrators) > 1:
        message = Text(
            "系统、安全、审计管理员不得由同一人担任", "nobody holds two of the three administrators"
        )
        faults.append(Fault("/roles", message, Text("GB/T 22239 三权分立", "GB/T 22239, separation")))
    if session.scalar(select(Person.id).where(Person.login == login)):
        faults.append(Fault("/login", Text("登录名已被使用", "the login is taken")))
    if session.get(Agency, agency_id) is None:
        faults.append(Fault("/agency_id", Text("没有这个单位", "no such agency")))
    if faults:
        raise Invalid(faults=faults)
    person = Person(id=new_id(), login=login, name=name, agency_id=agency_id, roles=sorted(roles))
    session.add(person)
    session.flush()
    history.record(
        session, kind="person", subject_id=person.id, act="register", by=by,
        data={"agency": str(agency_id), "roles": sorted(roles)},
    )  # fmt: skip
    return person


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
    asked = request.headers.get("accept-language")
    request.state.locale = negotiate_locale(asked) if asked else actor.locale
    request.state.actor = actor
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


def cookie_name(request: Request) -> str:
    """Over https the `__Host-` name, which browsers take from this host alone, for all of it, and only secure.
    A try-out over http has no such cookie."""
    public_url: str = request.app.state.settings.public_url
    return HOST_COOKIE if public_url.startswith("https:") else COOKIE


def require_same_origin(request: Request) -> None:
    """Refuse a change that another site's page sends with our cookie (Fetch Metadata, else Origin)."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.url.netloc}"
    if site in ("same-origin", "none") or (site is None and origin in (None, own)):
        return
    raise NotPermitted(Text("请求来自其他网站。", "The request comes from another site."))


def _by_session(session: Session, token: str) -> Actor | None:
    moment = now()
    # One statement: every request of a person begins with it.
    query = _ACTING.add_columns(SignInSession).join(SignInSession, SignInSession.person_id == Person.id)
    found = session.execute(query.where(SignInSession.token_hash == _digest(token))).first()
    if found is None:
        return None
    person, jurisdiction_id, authority_id, row = found
    if row.revoked_at is not None or row.expires_at <= moment or row.last_seen_at + IDLE <= moment:
        return None
    if not person.active:
        return None
    if row.last_seen_at + SEEN_EVERY <= moment:
        row.last_seen_at = moment
    return _actor(person, jurisdiction_id, authority_id)


def _use_one_time(session: Session, person: Person, secret: str) -> bool:
    row = session.scalar(
        select(OneTimeSecret).where(
            OneTimeSecret.secret_hash == _digest(secret),
            OneTimeSecret.person_id == person.id,
            OneTimeSecret.used_at.is_(None),
            OneTimeSecret.expires_at > now(),
        )
    )
    if row is None:
        return False
    row.used_at = now()
    return True


def _password_holds(person: Person, secret: str) -> bool:
    if person.password_hash is None:
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


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
