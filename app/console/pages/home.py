"""Home: what waits for the reader and by when, what the reader waits for, what changed in what it follows. To
whoever is not signed in it is the open catalog's search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response

from app.console.due import Due, due_at
from app.console.forms import Sent
from app.console.pages.catalog import search_page
from app.console.view import LANGUAGE_COOKIE, LANGUAGE_KEPT_S, View, as_locale, looking, permit_page, places
from app.identity import people_api as people
from app.identity import sessions
from app.identity.permissions import WHILE_LACKING, permit
from app.kernel.actor import ActorKind
from app.kernel.text import Text
from catalog.following import api as following
from exchange.telling.inbox import Matter, read_inbox

router = APIRouter(include_in_schema=False)
permit("console.home", anonymous=True)
permit_page("console.language", like="me.set_language")
WHILE_LACKING.add("console.language")

SHOWN = 30  # of each list; the rest is in the lists of each kind
CHANGES_SHOWN = 8

PATHS = {
    "negotiation": "/negotiations", "dispute": "/disputes", "correction": "/corrections", "request": "/requests",
    "policy": "/policies", "resource": "/catalog", "plan": "/plans",
}  # fmt: skip
KINDS = {
    "negotiation": Text("协商", "Negotiation"),
    "dispute": Text("争议", "Dispute"),
    "correction": Text("校核", "Correction"),
    "request": Text("共享申请", "Request"),
    "policy": Text("规则", "Policy"),
    "resource": Text("目录", "Record"),
    "finding": Text("重复采集", "Finding"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One matter: what it is, in which state, what the reader may do, until when."""

    href: str
    kind: Text
    title: Text
    state: str
    state_name: Text
    acts: tuple[Text, ...]
    overdue: bool
    due: Due | None


def address_of(kind: str, id: UUID, within: UUID | None = None) -> str:
    """Where the console shows a case."""
    return f"/plans/{within}#finding-{id}" if kind == "finding" else f"{PATHS[kind]}/{id}"


@router.get("/", operation_id="console.home")
def home(view: Annotated[View, looking("console.home")]) -> Response:
    """What waits for me, overdue first, what I wait for, and what changed in what I follow."""
    if view.actor.kind is not ActorKind.PERSON:
        return search_page(view)
    mine: Sequence[Line] = ()
    ours: Sequence[Line] = ()
    awaited: Sequence[Line] = ()
    if view.may("inbox.read"):
        found = read_inbox(view.session, by=view.actor)
        waiting = _lines(view, found.waiting)
        mine = [line for line in waiting if line.acts]
        ours = [line for line in waiting if not line.acts]
        awaited = _lines(view, found.awaited)
    told = following.list_changes(
        view.session, view.actor, following.Unread(unread=True, limit=CHANGES_SHOWN)
    )
    return view.page(
        "home.html", lists=_lists(mine, ours, awaited), followed=told.items, shown=SHOWN,
        overdue=sum(line.overdue for line in mine), ways=places(view.actor, "")[1:],
    )  # fmt: skip


def _lists(
    mine: Sequence[Line], ours: Sequence[Line], awaited: Sequence[Line]
) -> list[tuple[Text, Text, Sequence[Line]]]:
    return [
        (Text("待我办理", "Waiting for me"), Text("没有待您办理的事项。", "Nothing waits for you."), mine),
        (
            Text("待本单位其他人员办理", "Waiting for others of my agency"),
            Text("没有待本单位其他人员办理的事项。", "Nothing waits for others of your agency."),
            ours,
        ),
        (
            Text("等待对方办理", "Waiting for the other side"),
            Text("没有等待对方的事项。", "You are waiting for nobody."),
            awaited,
        ),
    ]


def _lines(view: View, matters: Sequence[Matter]) -> list[Line]:
    dated = due_at(view, {one.id: one.due for one in matters})
    return [
        Line(
            address_of(one.machine.kind, one.id, one.within), KINDS[one.machine.kind], one.title, one.state,
            one.machine.states[one.state], tuple(one.machine.acts[act] for act in one.acts), one.overdue,
            dated.get(one.id),
        )
        for one in matters
    ]  # fmt: skip


@router.post("/language", operation_id="console.language")
def set_language(view: Annotated[View, looking("console.language")], form: Sent) -> Response:
    """Keep the language for the person, wherever they sign in next."""
    locale = as_locale(form.text("lang"))
    people.set_language(people.Language(locale=locale), view.actor, view.session)
    response = view.to(sessions.local_address(form.text("next")))
    response.set_cookie(
        LANGUAGE_COOKIE, locale, max_age=LANGUAGE_KEPT_S, samesite="lax", httponly=True,
        secure=sessions.is_secure(view.request),
    )  # fmt: skip
    return response
