"""Home: what waits for the reader with its due date, and what the reader waits for. To whoever is not signed
in it is the open catalog's search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy import select

from app.console.due import Due, due_of
from app.console.pages.catalog import search_page
from app.console.view import View, looking
from app.identity.permissions import permit
from app.kernel.actor import ActorKind, Role
from app.kernel.text import Text
from catalog.collection import findings
from catalog.collection.states import FINDING
from catalog.resources.models import Resource
from catalog.resources.service import reviewed_jurisdictions, reviews, visible_to
from catalog.resources.states import FILED, RESOURCE, RETURNED
from exchange.disputes import service as disputes
from exchange.disputes.models import Dispute
from exchange.disputes.states import DISPUTE, UNDECIDED
from exchange.negotiations import case as negotiations
from exchange.negotiations.models import Negotiation
from exchange.negotiations.states import NEGOTIATION, OPEN
from exchange.parties import Bilateral, names_of
from exchange.requests import service as requests
from exchange.requests.states import DRAFT, REQUEST

router = APIRouter(include_in_schema=False)
permit("console.home", anonymous=True)

SHOWN = 20
# What a side may do at any time is not what it is waited for.
_NEVER_AWAITED = frozenset(
    {"withdraw", "open_dispute", "transfer", "discard", "record_settlement", "suspend"}
)


@dataclass(frozen=True, slots=True)
class Matter:
    """One line: what it is, between whom, in which state, what the reader may do, until when."""

    href: str
    kind: Text
    title: Text
    state: Text
    acts: tuple[Text, ...]
    due: Due | None

    @property
    def urgency(self) -> tuple[date, str]:
        return (self.due.on if self.due and not self.due.paused else date.max, self.href)


@router.get("/", operation_id="console.home")
def home(view: Annotated[View, looking("console.home")]) -> Response:
    """What waits for me, overdue first, and what I wait for."""
    if view.actor.kind is not ActorKind.PERSON:
        return search_page(view)
    mine, theirs = _negotiations(view)
    disputed, before_authority = _disputes(view)
    drafts, unfiled = _requests(view)
    waiting = [*mine, *disputed, *drafts, *_resources(view), *_findings(view)]
    awaited = [*theirs, *before_authority, *unfiled]
    return view.page(
        "home.html", done=None, waiting=sorted(waiting, key=lambda matter: matter.urgency),
        awaited=sorted(awaited, key=lambda matter: matter.urgency),
    )  # fmt: skip


def _negotiations(view: View) -> tuple[list[Matter], list[Matter]]:
    if not view.may("negotiation.list"):
        return [], []
    waiting = negotiations.list_negotiations(view.session, by=view.actor, waiting=True, limit=SHOWN)
    seen = {row.id for row in waiting}
    rows = negotiations.list_negotiations(view.session, by=view.actor, limit=2 * SHOWN)
    theirs = [row for row in rows if row.id not in seen and row.state in OPEN][:SHOWN]
    due = due_of(view, "negotiation", [row.id for row in [*waiting, *theirs]])
    between = _between(view, [*waiting, *theirs])
    kind = Text("协商", "Negotiation")

    def matter(row: Negotiation, acts: Iterable[str]) -> Matter:
        labels = tuple(NEGOTIATION.acts[act] for act in acts if act not in _NEVER_AWAITED)
        state = NEGOTIATION.states[row.state]
        return Matter(f"/negotiations/{row.id}", kind, between[row.id], state, labels, due.get(row.id))

    allowed = [(row, negotiations.allowed_acts(view.session, row, by=view.actor)) for row in waiting]
    return [matter(row, acts) for row, acts in allowed], [matter(row, ()) for row in theirs]


def _disputes(view: View) -> tuple[list[Matter], list[Matter]]:
    if not view.may("dispute.list"):
        return [], []
    waiting = disputes.list_disputes(view.session, by=view.actor, waiting=True, limit=SHOWN)
    seen = {row.id for row in waiting}
    rows = disputes.list_disputes(view.session, by=view.actor, limit=2 * SHOWN)
    theirs = [row for row in rows if row.id not in seen and row.state in UNDECIDED][:SHOWN]
    due = due_of(view, "dispute", [row.id for row in [*waiting, *theirs]])
    between = _between(view, [*waiting, *theirs])
    kind = Text("争议", "Dispute")

    def matter(row: Dispute, acts: Iterable[str]) -> Matter:
        labels = tuple(DISPUTE.acts[act] for act in acts if act not in _NEVER_AWAITED)
        return Matter(
            f"/disputes/{row.id}", kind, between[row.id], DISPUTE.states[row.state], labels, due.get(row.id)
        )

    allowed = [(row, disputes.allowed_acts(view.session, row, by=view.actor)) for row in waiting]
    return [matter(row, acts) for row, acts in allowed], [matter(row, ()) for row in theirs]


def _requests(view: View) -> tuple[list[Matter], list[Matter]]:
    """Drafts: for the approver to file, for the clerk to wait for."""
    if not view.may("request.list") or view.actor.agency_id is None:
        return [], []
    mine: list[Matter] = []
    theirs: list[Matter] = []
    for row in requests.list_requests(view.session, by=view.actor, state=DRAFT, limit=SHOWN):
        acts = requests.allowed_acts(row, by=view.actor)
        labels = tuple(REQUEST.acts[act] for act in acts if act not in _NEVER_AWAITED)
        title = Text(row.title, row.title)
        matter = Matter(
            f"/requests/{row.id}", Text("共享申请", "Request"), title, REQUEST.states[row.state], labels, None
        )
        (mine if "file" in acts else theirs).append(matter)
    return mine, theirs


def _resources(view: View) -> list[Matter]:
    """Records filed for the authority to review, and those returned to their agency."""
    query = select(Resource).where(visible_to(view.actor))
    if reviews(view.actor):
        query = query.where(
            Resource.state == FILED, Resource.jurisdiction_id.in_(reviewed_jurisdictions(view.actor))
        )
        act = RESOURCE.acts["publish"]
    elif view.actor.roles & {Role.CLERK, Role.APPROVER}:
        query = query.where(Resource.state == RETURNED, Resource.agency_id == view.actor.agency_id)
        act = RESOURCE.acts["edit" if Role.CLERK in view.actor.roles else "file"]
    else:
        return []
    rows = list(view.session.scalars(query.order_by(Resource.updated_at).limit(SHOWN)))
    due = due_of(view, "resource", [row.id for row in rows])
    return [
        Matter(
            f"/catalog/{row.id}", Text("目录", "Record"), Text(row.title, row.title_en or row.title),
            RESOURCE.states[row.state], (act,), due.get(row.id),
        )
        for row in rows
    ]  # fmt: skip


def _findings(view: View) -> list[Matter]:
    """Findings that wait for the reader's agency: to answer, or to decide."""
    if not view.may("finding.list"):
        return []
    rows = findings.list_findings(view.session, by=view.actor, waiting=True, limit=SHOWN)
    due = due_of(view, "finding", [finding.id for finding, _ in rows])
    return [
        Matter(
            f"/plans/{plan.id}#finding-{finding.id}",
            Text("重复采集", "Finding"),
            Text("{plan}：{item}", "{plan}: {item}").with_(plan=plan.title, item=finding.typed_item.name),
            FINDING.states[finding.state],
            tuple(FINDING.acts[act] for act in findings.allowed_acts(finding, plan, by=view.actor)),
            due.get(finding.id),
        )
        for finding, plan in rows
    ]


def _between(view: View, rows: Sequence[Bilateral]) -> dict[UUID, Text]:
    names = names_of(view.session, {i for row in rows for i in (row.requester_id, row.provider_id)})
    arrow = Text("{a} → {b}", "{a} → {b}")
    return {row.id: arrow.with_(a=names[row.requester_id], b=names[row.provider_id]) for row in rows}  # type: ignore[attr-defined]  # every Bilateral is Stateful too
