"""An act on a page of its own: what is entered, exactly what is signed, what happens next and who is told.

Owns the page of every act of every kind of case. What follows is read off the table that enforces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy import select

from app.console.forms import Act, Form, Options, Sent, form_body, perform
from app.console.view import Find, Seen, View, acting_on, looking, permit_page
from app.identity.models import Agency
from app.identity.permissions import permit
from app.identity.profiles import profile_for
from app.kernel.actor import ROLE_NAMES, Role
from app.kernel.errors import NotFound, Problem, WrongMoment
from app.kernel.machine import Machine, Party
from app.kernel.text import Text
from app.kernel.wire import Label

AGENCIES_OFFERED = 500


@dataclass(frozen=True, slots=True)
class Offered:
    """An act that the reader may do now, and where."""

    name: str
    label: Text
    href: str
    grave: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """An act of the reader's own side that is not open to the reader now, and why."""

    act: str
    label: Text
    why: Text


@dataclass(frozen=True, slots=True)
class Case:
    """A case as the page of its acts needs it. `told` are the agencies that learn of an act, beside one's own;
    `context` is what the templates of its acts show, `values` what its hidden fields carry. `parties` are what the
    reader's agency is to the case; `hinders` says why the moment does not allow an act that the state does."""

    address: str
    title: Text
    machine: Machine
    state: str
    version: int
    allowed: Sequence[str]
    told: Sequence[Label] = ()
    context: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    back: str = ""  # where the case is shown, if not at its address
    parties: frozenset[Party] = frozenset()
    hinders: Callable[[str], Text | None] = lambda _act: None


@dataclass(frozen=True, slots=True)
class Following:
    """What an act leads to, as its row of the table says."""

    state: Text | None  # where it becomes another
    duty: Label | None
    working_days: int
    duty_basis: str | None
    basis: str


def offered(case: Case, acts: Mapping[str, Act]) -> list[Offered]:
    """The acts of a case that the reader may do now."""
    return [
        Offered(act, case.machine.acts[act], f"{case.address}/{act}", acts[act].grave)
        for act in case.allowed
        if act in acts
    ]


def refused(view: View, case: Case) -> list[Refused]:
    """The acts that the state knows of the reader's side and the reader cannot do, each with the reason."""
    told = []
    for row in case.machine.rows:
        mine = [role for party, role in row.by if party in case.parties]
        if row.source != case.state or not mine or row.act in case.allowed:
            continue
        roles = [role for role in mine if role is not None]
        why = case.hinders(row.act) or _for_others(view, roles)
        told.append(Refused(row.act, case.machine.acts[row.act], why))
    return told


def _for_others(view: View, roles: Sequence[Role]) -> Text:
    """Whose act it is. Who has the role and may not do it had a hand in what is to be decided."""
    words = (
        Text("由本单位另一名{zh}办理：经手人不得审核自己的件。", "For another {en} of your agency: nobody decides on their own work.")
        if view.actor.roles.intersection(roles)
        else Text("由本单位的{zh}办理。", "For your agency's {en}.")
    )  # fmt: skip
    names = [ROLE_NAMES[role] for role in roles]
    return words.with_(zh="、".join(name.zh for name in names), en=", ".join(name.en for name in names))


def following(view: View, case: Case, act: str) -> Following | None:
    """What the table says of an act in the case's state."""
    row = case.machine.find(case.state, act)
    if row is None:
        return None
    duty = None
    if row.duty is not None and view.actor.jurisdiction_id is not None:
        duty = profile_for(view.session, view.actor.jurisdiction_id).duties.get(row.duty)
    return Following(
        case.machine.states[row.target] if row.target != case.state else None,
        duty.label if duty else None, duty.working_days if duty else 0, duty.basis if duty else None, row.basis,
    )  # fmt: skip


def act_page(
    view: View, case: Case, acts: Mapping[str, Act], act: str, *, problem: Problem | None, entered: Form
) -> Response:
    """The page of one act; of one that is not open now, the state of the case and the way back to it (409, or what
    was refused). Errors: NotFound for no act of the case."""
    if act not in acts:
        raise NotFound()
    if act not in case.allowed:
        problem = problem or WrongMoment(state=case.state)
        here = f"{case.address}/{act}"
        why = next((one.why for one in refused(view, case) if one.act == act), None)
        return view.page(
            "closed.html", status=problem.status, here=here, case=case, act=act, problem=problem, why=why
        )
    return _form_page(
        view, case, act, acts[act], case.machine.acts[act], following(view, case, act), problem, entered
    )


def _form_page(
    view: View,
    case: Case | Making,
    act: str,
    form: Act,
    label: Text,
    follows: Following | None,
    problem: Problem | None,
    entered: Form,
) -> Response:
    choices: dict[str, Options] = {
        one.name: one.options(view) if callable(one.options) else one.options
        for one in form.fields
        if one.options is not None
    }
    return view.page(
        "act.html", status=problem.status if problem else 200, here=f"{case.address}/{act}", case=case, act=act,
        label=label, form=form, choices=choices, follows=follows, problem=problem, entered=entered, **case.context,
    )  # fmt: skip


def act_routes(
    router: APIRouter,
    path: str,
    kind: str,
    find: Find[Any],
    acts: Mapping[str, Act],
    case_of: Callable[[Seen[Any], str, Form], Case],
    *,
    terms: Callable[[Seen[Any], Form], Mapping[str, Any] | None] = lambda _seen, _form: None,
    then: Callable[[Seen[Any], str, Any], str] | None = None,
) -> None:
    """Put the page and the doing of each act on the router, under `path` + /{id}/{act}, for whoever may do
    `kind.act` over the API. `terms` reads the form of terms where an act has one; `then` is where a done act
    leads, else back to the case."""
    permit(f"console.{kind}_step", f"console.{kind}_act")

    def step(act: str, seen: Seen[Any] = acting_on(kind, find, "step")) -> Response:
        return act_page(seen.view, case_of(seen, act, Form()), acts, act, problem=None, entered=Form(act=act))

    def do(form: Sent, seen: Seen[Any] = acting_on(kind, find, "act")) -> Response:
        try:
            done = perform(acts, seen.asked, form, terms(seen, form))
        except Problem as problem:
            view = seen.view
            view.session.expire_all()  # what the refused act changed in memory
            again = Seen(view, find(view.session, view.request.path_params["id"], by=view.actor))
            return act_page(
                view, case_of(again, form.act, form), acts, form.act, problem=problem, entered=form
            )
        address = then(seen, form.act, done) if then else _shown_at(case_of(seen, form.act, form))
        page, _, place = address.partition("#")
        mark = "&" if "?" in page else "?"
        return seen.view.to(f"{page}{mark}done={form.act}" + (f"#{place}" if place else ""))

    step.__doc__ = f"The page of one act on a {kind}: what is entered, what follows, who is told."
    do.__doc__ = f"Do one act on a {kind}."
    address = f"{path}/{{id:uuid}}/{{act}}"
    router.add_api_route(address, step, methods=["GET"], operation_id=f"console.{kind}_step")
    router.add_api_route(address, do, methods=["POST"], operation_id=f"console.{kind}_act")


@dataclass(frozen=True, slots=True)
class Making:
    """What a form that makes something new stands under: the list or case it is reached from."""

    address: str
    title: Text
    told: Sequence[Label] = ()
    version: int = 0
    context: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    back: str = ""


def make_routes(
    router: APIRouter, making: Making, name: str, operation: str, label: Text, form: Act, *, like: str
) -> None:
    """Put the form that makes something at `making.address` + /`name` on the router, for whoever may call `like`.
    `form.perform` takes the view and the body, and answers where to go or what to show."""
    permit_page(f"console.{operation}_form", like=like)
    permit_page(f"console.{operation}", like=like)

    def show(view: View = looking(f"console.{operation}_form")) -> Response:
        return _form_page(view, making, name, form, label, None, None, Form())

    def make(sent: Sent, view: View = looking(f"console.{operation}")) -> Response:
        entered = replace(sent, act=name)
        try:
            with view.session.begin_nested():
                done = form.perform(view, form_body(form, entered))
        except Problem as problem:
            return _form_page(view, making, name, form, label, None, problem, entered)
        return done if isinstance(done, Response) else view.to(done)

    show.__doc__, make.__doc__ = f"The form to {label.en}.", f"{label.en}."
    address = f"{making.address}/{name}"
    router.add_api_route(address, show, methods=["GET"], operation_id=f"console.{operation}_form")
    router.add_api_route(address, make, methods=["POST"], operation_id=f"console.{operation}")


def _shown_at(case: Case) -> str:
    return case.back or case.address


def agencies_offered(view: View) -> dict[str, Text]:
    """Agencies to choose from, by id."""
    rows = view.session.execute(
        select(Agency.id, Agency.name, Agency.name_en).order_by(Agency.name).limit(AGENCIES_OFFERED)
    )
    return {str(row.id): Text(row.name, row.name_en or row.name) for row in rows}


def names(*agencies: Iterable[Label] | Label) -> list[Label]:
    """Labels, each once, in order."""
    found: dict[str, Label] = {}
    for one in agencies:
        for label in [one] if isinstance(one, Label) else one:
            found.setdefault(label.zh, label)
    return list(found.values())
