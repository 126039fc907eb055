"""Versions of terms and consents to them: the only writers of both tables.

Refuses a consent by who wrote the terms, and one to other terms than those on the table.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import new_id, now
from app.kernel.db import table_of
from app.kernel.errors import Conflict, SameHand
from app.kernel.text import Text
from exchange.negotiations.models import Consent, Negotiation, TermsVersion
from exchange.parties import parties_of
from exchange.terms import Terms, terms_hash

Side = Literal["requester", "provider"]


class OtherTerms(Conflict):
    """The hash that was consented to is not that of the terms on the table."""

    slug = "other-terms"
    title = Text("所同意的条款不是当前条款", "Not the terms on the table")


def write_version(
    session: Session,
    negotiation: Negotiation,
    terms: Terms,
    *,
    party: Literal["requester", "provider", "authority"],
    author_id: UUID,
    note: str | None = None,
    hashed: str | None = None,
) -> TermsVersion:
    """Add a version of the terms to a negotiation; `hashed` is their hash where the caller has it. Of two who
    add one at the same moment the second is refused by the number's uniqueness."""
    version = TermsVersion(
        id=new_id(), created_at=now(), negotiation_id=negotiation.id, party=party, author_id=author_id,
        terms=terms.model_dump(mode="json"), terms_hash=hashed or terms_hash(terms), note=note,
    )  # fmt: skip
    version.number = session.connection().execute(_WRITE, _values(version)).scalar_one()
    return version


def _values(row: TermsVersion | Consent) -> dict[str, Any]:
    """The row's columns as given. Both tables are written by one plain statement each, in every command."""
    return {name: value for name, value in vars(row).items() if name != "_sa_instance_state"}


_TABLE = table_of(TermsVersion)
_BEFORE = select(func.coalesce(func.max(_TABLE.c.number), 0)).where(
    _TABLE.c.negotiation_id == bindparam("negotiation_id")
)
_WRITE = (
    insert(_TABLE)
    .values({c.name: bindparam(c.name) for c in _TABLE.c} | {"number": _BEFORE.scalar_subquery() + 1})
    .returning(_TABLE.c.number)
)
_GIVE = (
    insert(table_of(Consent))
    .on_conflict_do_nothing(index_elements=["terms_version_id", "party"])
    .returning(Consent.id)
)


def consent(
    session: Session, version: TermsVersion, side: Side, *, by: Actor, to_hash: str | None = None
) -> Consent:
    """Record that `side` stands by `version`, once; `to_hash` is what the approver read.

    Errors: SameHand where `by` wrote the version, OtherTerms where the hashes differ.
    """
    if to_hash is not None and to_hash != version.terms_hash:
        raise OtherTerms(terms_hash=version.terms_hash)
    if by.id == version.author_id:
        raise SameHand(basis="809-20")
    return _record(session, version, side, "approver", by.id)


def consent_by_rule(session: Session, version: TermsVersion, kind: Literal["policy", "deemed"]) -> Consent:
    """Record the provider's consent that a policy or its silence gives."""
    return _record(session, version, "provider", kind, None)


def carry_over(session: Session, given: Consent, version: TermsVersion) -> Consent:
    """Let a consent given to the same terms in a former negotiation stand for `version`."""
    assert given.terms_hash == version.terms_hash
    return _record(session, version, "requester", given.kind, given.person_id)


def _record(
    session: Session, version: TermsVersion, side: Side, kind: str, person_id: UUID | None
) -> Consent:
    given = Consent(
        id=new_id(), created_at=now(), at=now(), terms_version_id=version.id, party=side, kind=kind,
        person_id=person_id, terms_hash=version.terms_hash,
    )  # fmt: skip
    if session.connection().execute(_GIVE, _values(given)).first() is None:  # the offer, now confirmed
        stands = select(Consent).where(Consent.terms_version_id == version.id, Consent.party == side)
        return session.scalars(stands).one()
    return given


def consents_to(session: Session, version_ids: set[UUID]) -> dict[UUID, dict[str, Consent]]:
    """The consents to these versions, by version and side."""
    found: dict[UUID, dict[str, Consent]] = {version_id: {} for version_id in version_ids}
    for given in session.scalars(select(Consent).where(Consent.terms_version_id.in_(version_ids))):
        found[given.terms_version_id][given.party] = given
    return found


def versions_for(session: Session, negotiation: Negotiation, *, by: Actor) -> list[TermsVersion]:
    """The versions of the terms that the actor may know, oldest first: its own side's, and of others those
    that were put on the table or named with a refusal."""
    query = select(TermsVersion).where(TermsVersion.negotiation_id == negotiation.id)
    versions = list(session.scalars(query.order_by(TermsVersion.number)))
    tabled = {i for i, given in consents_to(session, {v.id for v in versions}).items() if given}
    tabled |= {i for i in (negotiation.narrower_terms_id, negotiation.current_terms_id) if i}
    sides = parties_of(by, negotiation)
    return [v for v in versions if v.id in tabled or v.party in sides]
