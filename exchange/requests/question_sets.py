"""The questions each provider puts about its resources: who sets them, who reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field, TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.cases import Asked, guarded
from app.identity.permissions import permit
from app.kernel import history, ledger
from app.kernel.actor import Actor, Role, Scope
from app.kernel.clock import now
from app.kernel.errors import Invalid, NotPermitted, StaleVersion
from app.kernel.text import Text
from app.kernel.wire import ExpectedVersion, Wire, set_version
from catalog.resources import service as resources
from catalog.resources.models import Resource
from exchange.requests.models import QuestionSet
from exchange.requests.questions import QUESTIONS_OF_A_RESOURCE, Question, check_questions

router = APIRouter(prefix="/api/v1/resources", tags=["requests"])
permit("resource.questions", scope=Scope.CLERK)
permit("resource.set_questions", roles=(Role.CLERK,), scope=Scope.CLERK)

_QUESTIONS = TypeAdapter(tuple[Question, ...])
Questions = Annotated[tuple[Question, ...], Field(max_length=QUESTIONS_OF_A_RESOURCE)]


class NewQuestions(Wire):
    """All the questions of a resource; they replace those there were."""

    questions: Questions


class QuestionsOut(Wire):
    """The questions of a resource; version 0 where none were ever set."""

    resource_id: UUID
    version: int
    questions: Questions
    allowed: list[str]


def questions_of(session: Session, resource_ids: Iterable[UUID]) -> dict[UUID, Sequence[Question]]:
    """The questions that are put about these resources now."""
    rows = session.scalars(select(QuestionSet).where(QuestionSet.resource_id.in_(list(resource_ids))))
    return {row.resource_id: _QUESTIONS.validate_python(row.questions) for row in rows}


def set_questions(
    session: Session, resource: Resource, *, questions: Sequence[Question], by: Actor, version: int
) -> None:
    """Replace the questions; requests that were filed keep those they were asked.

    Errors: NotPermitted, StaleVersion, Invalid.
    """
    if not _sets(by, resource) or by.id is None:
        raise NotPermitted(Text("由提供方设定。", "For the provider to set."), basis="809-20")
    if faults := check_questions(questions):
        raise Invalid(faults=faults)
    session.get_one(Resource, resource.id, with_for_update=True)  # two first sets wait for each other here
    row = session.get(QuestionSet, resource.id, populate_existing=True)
    current = row.version if row else 0
    if current != version:
        raise StaleVersion(current_version=current)
    if row is None:
        row = QuestionSet(resource_id=resource.id)
        session.add(row)
    row.questions = _QUESTIONS.dump_python(tuple(questions), mode="json")
    row.version, row.author_id, row.updated_at = current + 1, by.id, now()
    data = {"version": row.version, "content_hash": ledger.content_hash({"questions": row.questions}).hex()}
    history.record(
        session, kind=resources.KIND, subject_id=resource.id, act="set_questions", by=by, party="owner",
        basis="809-20", data=data,
    )  # fmt: skip


def _sets(actor: Actor, resource: Resource) -> bool:
    return actor.agency_id == resource.agency_id and Role.CLERK in actor.roles


@router.get("/{id}/questions", operation_id="resource.questions")
def read_questions(
    asked: Annotated[Asked[Resource], guarded("resource.questions", resources.find)],
) -> QuestionsOut:
    """申请问题: what an applicant is asked."""
    row = asked.session.get(QuestionSet, asked.case.id)
    version = row.version if row else 0
    set_version(asked.response, version)
    return QuestionsOut(
        resource_id=asked.case.id, version=version,
        questions=_QUESTIONS.validate_python(row.questions) if row else (),
        allowed=["set_questions"] if _sets(asked.by, asked.case) else [],
    )  # fmt: skip


@router.put("/{id}/questions", operation_id="resource.set_questions")
def replace_questions(
    asked: Annotated[Asked[Resource], guarded("resource.set_questions", resources.find)],
    body: NewQuestions,
    version: ExpectedVersion,
) -> QuestionsOut:
    """设定申请问题: replace the questions. If-Match is the version of the questions, 0 at first."""
    set_questions(asked.session, asked.case, questions=body.questions, by=asked.by, version=version)
    return read_questions(asked)
