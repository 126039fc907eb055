"""What filing and review of a record have in common, be it a new one or the working copy of a published one:
the approver's statement, each filing as it was signed, the review clock, and the defects as threads.

Moves no resource and no working copy: `service` and `revisions` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from pydantic import Field
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.identity.profiles import start_clock
from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.clock import new_id
from app.kernel.errors import Fault, Invalid, WrongMoment
from app.kernel.machine import Party
from app.kernel.text import Text
from app.kernel.wire import LongText, ShortText, Wire
from catalog.resources.changes import Change, changes_between
from catalog.resources.labels import label
from catalog.resources.models import Defect, Filing, Resource, Revision
from catalog.resources.record import ARTICLE_3, ARTICLE_12, ResourceRecord, blank, check_record
from catalog.resources.states import ANSWERED, DEFECT, OPEN, RESOURCE, REVIEW, REVISION
from catalog.resources.use import use_of

Case = Resource | Revision

ARTICLE_16 = Text("809 第十六条 审核发布", "Decree 809 Art. 16, review and publication")
ARTICLE_27 = Text("809 第二十七条 不得擅自停止或变更共享", "Decree 809 Art. 27, supply is not changed alone")


class FilingStatement(Wire):
    """What the approver signs when filing (809-12): that nothing in it is secret, where the secrecy review stands
    on record, and the personal information impact assessment, or its finding that there is none."""

    contains_secrets: bool = False
    secrecy_review: ShortText | None = None
    personal_information_assessment: ShortText | None = None


class NewDefect(Wire):
    """One thing the authority wants mended; `field` is a JSON pointer into the record, empty for the whole."""

    field: Annotated[str, Field(max_length=200)] = ""
    message: ShortText


class Defects(Wire):
    """Everything that is wrong with a filed record, told at once. None where threads were opened again."""

    defects: Annotated[tuple[NewDefect, ...], Field(max_length=200)] = ()


class Answer(Wire):
    """What is said in a thread."""

    text: LongText


def resource_id_of(case: Case) -> UUID:
    return case.id if isinstance(case, Resource) else case.resource_id


def kind_of(case: Case) -> str:
    return RESOURCE.kind if isinstance(case, Resource) else REVISION.kind


def require_fileable(
    session: Session, case: Case, statement: FilingStatement, *, by: Actor, parties: frozenset[Party]
) -> None:
    """A thread whose field was changed since the last filing is answered by that change.
    Errors: Invalid naming everything that is missing or wrong, and each thread without an answer."""
    record = ResourceRecord.model_validate(case.record)
    _answer_what_changed(session, case, record, by=by, parties=parties)
    faults = [*check_record(record), *statement_faults(statement), *agreed_faults(session, case, record)]
    for thread in threads_of(session, case, OPEN):
        message = Text("“{field}”的问题尚未答复：{message}", "“{field}”, not answered yet: {message}")
        named = message.with_(field=label(thread.field), message=thread.message)
        faults.append(Fault(f"/defects/{thread.id}", named, ARTICLE_16))
    require(faults)


def _answer_what_changed(
    session: Session, case: Case, record: ResourceRecord, *, by: Actor, parties: frozenset[Party]
) -> None:
    threads, filed = threads_of(session, case, OPEN), filings_of(session, case)
    if not threads or not filed:
        return
    changes = changes_between(ResourceRecord.model_validate(filed[-1].record), record)
    for thread in threads:
        met = [change for change in changes if f"{change.path}/".startswith(f"{thread.field.rstrip('/')}/")]
        if met:
            said = "；".join(_in_short(change) for change in met[:5])
            history.advance(
                session, thread, DEFECT, "answer", by=by, parties=parties, reason=f"已修改：{said}"
            )


def _in_short(change: Change) -> str:
    values = [value.zh[:80] if value else "（空）" for value in (change.before, change.after)]
    return f"{change.label.zh} {values[0]} → {values[1]}"


def statement_faults(statement: FilingStatement) -> list[Fault]:
    """What is missing or refused in a statement (809-3, 809-12)."""
    faults = []
    if statement.contains_secrets:
        message = Text(
            "“涉及国家秘密、工作秘密”填“是”：不得进入目录",
            "“holds secrets: yes” — it may not enter the catalog",
        )
        faults.append(Fault("/contains_secrets", message, ARTICLE_3))
    if not statement.secrecy_review:
        message = Text("须写明保密审查记录", "name the secrecy review on record")
        faults.append(blank("/secrecy_review", message, ARTICLE_12))
    if not statement.personal_information_assessment:
        message = Text(
            "须写明评估文号，不涉及个人信息的写明评估结论",
            "name the assessment, or its finding that there is no personal information",
        )
        faults.append(blank("/personal_information_assessment", message, ARTICLE_12))
    return faults


def agreed_faults(session: Session, case: Case, record: ResourceRecord) -> list[Fault]:
    """Items that agreements in force name and that the record would drop: that changes supply (809-27)."""
    if isinstance(case, Resource):
        return []
    used = use_of(session, [case.resource_id])[case.resource_id]
    kept = {item.code for item in record.items}
    message = Text(
        "信息项“{code}”仍在 {n} 份生效的共享协议之内，不能删去",
        "the item “{code}” is still agreed on ({n} agreements in force) and cannot be dropped",
    )
    return [
        Fault("/items", message.with_(code=code, n=used.agreements), ARTICLE_27)
        for code in sorted(used.items - kept)
    ]


def write_filing(session: Session, case: Case, statement: FilingStatement, *, by: Actor) -> Filing:
    """Keep what was filed as it was signed, and start the authority's clock (809-17)."""
    assert by.id is not None
    session.flush()
    number = session.scalar(_filings(case).with_only_columns(func.coalesce(func.max(Filing.number), 0))) or 0
    filing = Filing(
        id=new_id(), resource_id=resource_id_of(case), revision_id=_revision_id(case), number=number + 1,
        record=case.record, content_hash=case.content_hash, statement=statement.model_dump(mode="json"),
        signed_by=by.id, signed_name=by.name,
    )  # fmt: skip
    session.add(filing)
    start_clock(session, whose=case.jurisdiction_id, kind=kind_of(case), subject_id=case.id, duty=REVIEW)
    return filing


def filings_of(session: Session, case: Case) -> list[Filing]:
    """Every filing of the case, oldest first."""
    return list(session.scalars(_filings(case).order_by(Filing.number)))


def threads_of(session: Session, case: Case, *states: str) -> list[Defect]:
    """The case's threads, oldest first; of `states`, where some are named."""
    query = select(Defect).where(
        Defect.resource_id == resource_id_of(case),
        Defect.revision_id.is_not_distinct_from(_revision_id(case)),
    )
    if states:
        query = query.where(Defect.state.in_(states))
    return list(session.scalars(query.order_by(Defect.id)))


def raise_defects(
    session: Session, case: Case, defects: Sequence[NewDefect], *, by: Actor, parties: frozenset[Party]
) -> None:
    """Open a thread for each defect. What was answered and not opened again counts as fixed.
    Errors: Invalid where nothing is wrong, or a thread on the same already stands."""
    for thread in threads_of(session, case, ANSWERED):
        history.advance(session, thread, DEFECT, "confirm", by=by, parties=parties)
    standing = {(thread.field, thread.message): thread for thread in threads_of(session, case, OPEN)}
    if not defects and not standing:
        require(
            [blank("/defects", Text("退回须一次列明全部问题", "name all that is wrong, at once"), ARTICLE_16)]
        )
    faults = []
    for position, defect in enumerate(defects):
        key = (defect.field, defect.message)
        if key in standing:
            message = Text("“{message}”已经提出过", "“{message}” has been raised already")
            faults.append(Fault(f"/defects/{position}", message.with_(message=defect.message), ARTICLE_16))
            continue
        thread = Defect(
            resource_id=resource_id_of(case), revision_id=_revision_id(case), field=defect.field, message=defect.message
        )  # fmt: skip
        data = {"field": defect.field, "resource": str(thread.resource_id)}
        history.create(
            session, thread, DEFECT, "raise", by=by, parties=parties, reason=defect.message, data=data
        )
        standing[key] = thread
    require(faults)


def settle_threads(session: Session, case: Case, *, by: Actor, parties: frozenset[Party]) -> None:
    """Publishing confirms what was answered. Errors: WrongMoment where a thread was opened again."""
    if open_ := threads_of(session, case, OPEN):
        message = Text("还有 {n} 个问题未整改。", "{n} defects are still open.").with_(n=len(open_))
        raise WrongMoment(message, defects=[str(thread.id) for thread in open_], basis="809-16")
    for thread in threads_of(session, case, ANSWERED):
        history.advance(session, thread, DEFECT, "confirm", by=by, parties=parties)


def require(faults: Sequence[Fault]) -> None:
    """Errors: Invalid, where there are faults."""
    if faults:
        raise Invalid(faults=faults)


def _revision_id(case: Case) -> UUID | None:
    return case.id if isinstance(case, Revision) else None


def _filings(case: Case) -> Select[Filing]:
    return select(Filing).where(
        Filing.resource_id == resource_id_of(case),
        Filing.revision_id.is_not_distinct_from(_revision_id(case)),
    )
