"""What the exchange's interfaces share: the guarded way to a case, and the shapes that appear in several."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, StringConstraints

from app.kernel.db import Identified
from app.kernel.text import Text
from app.kernel.wire import (
    Label,
    LongText,
    Wire,
)
from exchange.negotiations.models import Consent, TermsVersion
from exchange.terms import Terms, TermsChange

E_co = TypeVar("E_co", covariant=True)
Row = TypeVar("Row", bound=Identified)
Out = TypeVar("Out", bound=BaseModel)


Waiting = Annotated[bool, Query(description="只列出等待本单位处理的 / only those waiting for my agency")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Reason(Wire):
    reason: LongText


class OptionalReason(Wire):
    reason: LongText | None = None


class ToTerms(Wire):
    """Consent to the terms with this hash, as the approver read them."""

    terms_hash: Hash
    reason: LongText | None = None


class ConsentOut(Wire):
    """Who stands by the terms: an approver, a policy, or silence."""

    party: str
    kind: str
    person_id: UUID | None
    terms_hash: str
    at: datetime


class VersionOut(Wire):
    """One version of the terms with the consents to it."""

    id: UUID
    number: int
    party: str
    author_id: UUID
    terms: Terms
    terms_hash: str
    note: str | None
    created_at: datetime
    consents: list[ConsentOut]

    @classmethod
    def of(cls, version: TermsVersion, given: Iterable[Consent]) -> VersionOut:
        return cls(
            id=version.id, number=version.number, party=version.party, author_id=version.author_id,
            terms=version.typed, terms_hash=version.terms_hash, note=version.note, created_at=version.created_at,
            consents=[ConsentOut.model_validate(consent) for consent in given],
        )  # fmt: skip


CHANGE_NAMES = {
    "added": Text("新增", "added"),
    "removed": Text("删除", "removed"),
    "changed": Text("变更", "changed"),
}


class ChangeOut(Wire):
    """One difference between two versions of the terms, in words: it reads without colour."""

    path: str
    kind: Literal["added", "removed", "changed"]
    kind_name: Label
    label: Label
    before: Label | None
    after: Label | None

    @classmethod
    def of(cls, change: TermsChange) -> ChangeOut:
        return cls(
            path=change.path, kind=change.kind, kind_name=Label.of(CHANGE_NAMES[change.kind]), label=Label.of(change.label),
            before=Label.of(change.before) if change.before else None,
            after=Label.of(change.after) if change.after else None,
        )  # fmt: skip
