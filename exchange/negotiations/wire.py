"""What goes over the wire of negotiations: cases, versions and the bodies of acts. Holds no rules."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from app.identity.cases import AgencyRef, DeadlineOut
from app.kernel.wire import (
    Label,
    LongText,
    Paging,
    ShortText,
    Wire,
    one_of,
)
from exchange.attachments import AttachmentOut
from exchange.negotiations.discussion import OpenPoint
from exchange.negotiations.states import NEGOTIATION
from exchange.requests.questions import Answered
from exchange.terms import Terms
from exchange.wire import VersionOut, Waiting


class NegotiationSummary(Wire):
    """One line of a list."""

    id: UUID
    request_id: UUID
    requester: AgencyRef
    provider: AgencyRef
    state: str
    state_name: Label
    sharing: str
    overdue: bool
    waiting_for_material: bool
    updated_at: datetime


class Refusal(Wire):
    """Why the provider refused: the coded ground, the article it rests on, and the reason in its words."""

    ground: str
    label: Label
    legal_basis: str
    reason: str | None


class NegotiationOut(Wire):
    """A negotiation: who, what is on the table, what runs, and what the reader may do now. `draft` and
    `narrower` are versions of the terms; a draft is shown to its own side alone. `questions` are the provider's
    as they were answered at filing; `open_points` what a consent in principle left to be settled."""

    id: UUID
    request_id: UUID
    follows_id: UUID | None
    amends_id: UUID | None
    requester: AgencyRef
    provider: AgencyRef
    authority: AgencyRef
    state: str
    state_name: Label
    version: int
    sharing: str
    terms: VersionOut
    draft: VersionOut | None
    narrower: VersionOut | None
    rounds: int
    waiting_for_material: bool
    extension_asked: int | None
    overdue: bool
    termination_reason: str | None
    termination_reason_name: Label | None
    refusal: Refusal | None
    disputed: bool
    directions: str | None
    deadlines: list[DeadlineOut]
    need_by: date | None
    questions: list[Answered]
    open_points: list[OpenPoint] | None
    policy_ids: list[UUID]
    comments: list[CommentOut]
    attachments: list[AttachmentOut]
    agreement_id: UUID | None
    created_at: datetime
    updated_at: datetime
    allowed: list[str]


class CommentOut(Wire):
    """What was said of one term (`field`, a path as in `changes`; "" is the whole)."""

    id: UUID
    field: str
    party: str
    author_name: str
    body: str
    created_at: datetime


class NewComment(Wire):
    field: str = Field(default="", max_length=500)
    body: LongText


class InPrinciple(Wire):
    """A consent in principle with the points that it leaves open."""

    points: Annotated[tuple[OpenPoint, ...], Field(min_length=1, max_length=50)]
    reason: LongText | None = None


class GroundOut(Wire):
    code: str
    label: Label
    legal_basis: str


class DraftTerms(Wire):
    terms: Terms
    note: LongText | None = None


class Refuse(Wire):
    """A refusal: `narrower` is what the provider could share instead."""

    ground: ShortText
    reason: LongText
    narrower: Terms | None = None


class Extension(Wire):
    working_days: int = Field(ge=1, le=100)
    reason: LongText


class Transfer(Wire):
    to_agency_id: UUID
    reason: LongText


class Chosen(Paging):
    """Filters of the list."""

    waiting: Waiting = False
    state: Annotated[str | None, one_of(NEGOTIATION.states)] = None
    request: UUID | None = None


class Versions(Wire):
    """Two versions by number."""

    before: int = Field(ge=1)
    after: int = Field(ge=1)
