"""The second factor of local accounts: an authenticator (TOTP, RFC 6238) and codes for when it is lost.

Owns enrolment and the checking of codes: each is taken once. Who must have one is the rule profile's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b32encode

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.identity.models import Person, RecoveryCode, SecondFactor
from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.errors import Fault, Invalid, NotSignedIn, WrongMoment
from app.kernel.seal import Seal
from app.kernel.text import Text

ISSUER = "Zhengtong"
STEP_S = 30
DIGITS = 6
STEPS_ASIDE = (0, -1, 1)  # a clock may be off by half a minute
KEY_BYTES = 20
RECOVERY_CODES = 10
_GROUPS, _GROUP = 6, 4  # of base32: 120 bits, so that a plain hash keeps them


class SecondFactorNeeded(NotSignedIn):
    """Login and secret hold; a code from the authenticator, or a recovery code, is wanted beside them."""

    slug = "second-factor-needed"
    title = Text("还须输入动态验证码", "A code from your authenticator is needed too")


def is_enrolled(session: Session, person: Person) -> bool:
    """Whether a code is asked of the person at sign-in."""
    return _confirmed(session, person) is not None


def begin(session: Session, person: Person, seal: Seal) -> tuple[str, str]:
    """A fresh key for the person's authenticator: as text, and as the address that a QR code carries.
    It counts once `confirm`ed. Errors: WrongMoment where one counts already."""
    if is_enrolled(session, person):
        raise WrongMoment(Text("已启用动态验证码。", "A second factor is in use already."))
    session.execute(delete(SecondFactor).where(SecondFactor.person_id == person.id))
    key = secrets.token_bytes(KEY_BYTES)
    session.add(SecondFactor(person_id=person.id, sealed=seal.encrypt(key), created_at=now(), last_step=0))
    session.flush()
    return b32encode(key).decode(), _totp(key).get_provisioning_uri(person.login, ISSUER)


def confirm(session: Session, person: Person, code: str, seal: Seal, *, by: Actor) -> list[str]:
    """Put the authenticator in use with a first code from it; gives the recovery codes, told this once.
    Errors: WrongMoment, Invalid."""
    row = session.get(SecondFactor, person.id, with_for_update=True)
    if row is None or row.confirmed_at is not None:
        raise WrongMoment(Text("请先取得新的验证器密钥。", "Ask for a new authenticator key first."))
    if not _takes(row, code, seal):
        rule = Text("动态口令（RFC 6238）", "RFC 6238")
        raise Invalid(faults=[Fault("/code", Text("验证码不正确", "the code is not right"), rule)])
    row.confirmed_at = now()
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person.id))
    session.add_all(RecoveryCode(person_id=person.id, code_hash=_digest(code)) for code in codes)
    history.record(session, kind="person", subject_id=person.id, act="enrol_second_factor", by=by)
    return codes


def holds(session: Session, person: Person, code: str, seal: Seal, *, by: Actor) -> bool:
    """Whether a code is the authenticator's of this half minute, or a recovery code; each is taken once."""
    row = _confirmed(session, person, lock=True)
    if row is None:
        return False
    if _takes(row, code, seal):
        return True
    recovery = session.get(RecoveryCode, (person.id, _digest(code)), with_for_update=True)
    if recovery is None or recovery.used_at is not None:
        return False
    recovery.used_at = now()
    history.record(session, kind="person", subject_id=person.id, act="use_recovery_code", by=by)
    return True


def reset(session: Session, person: Person, *, by: Actor) -> None:
    """Take the authenticator and its recovery codes away: the person enrols anew at the next sign-in."""
    session.execute(delete(SecondFactor).where(SecondFactor.person_id == person.id))
    session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person.id))
    history.record(session, kind="person", subject_id=person.id, act="reset_second_factor", by=by)


def _confirmed(session: Session, person: Person, *, lock: bool = False) -> SecondFactor | None:
    query = select(SecondFactor).where(
        SecondFactor.person_id == person.id, SecondFactor.confirmed_at.is_not(None)
    )
    return session.scalar(query.with_for_update() if lock else query)


def _takes(row: SecondFactor, code: str, seal: Seal) -> bool:
    """Whether the code belongs to a half minute near now that is later than the last one taken (RFC 6238 §5.2)."""
    totp, step = _totp(seal.decrypt(row.sealed)), int(now().timestamp()) // STEP_S
    for near in (step + aside for aside in STEPS_ASIDE):
        if near > row.last_step and hmac.compare_digest(totp.generate(near * STEP_S), code.strip().encode()):
            row.last_step = near
            return True
    return False


def _totp(key: bytes) -> TOTP:
    return TOTP(key, DIGITS, SHA1(), STEP_S)  # noqa: S303  # HMAC-SHA-1, which every authenticator knows  # nosec B303


def _recovery_code() -> str:
    text = b32encode(secrets.token_bytes(_GROUPS * _GROUP * 5 // 8)).decode()
    return "-".join(text[n : n + _GROUP] for n in range(0, _GROUPS * _GROUP, _GROUP))


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.strip().upper().replace("-", "").encode()).digest()
