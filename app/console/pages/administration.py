"""Administration: jurisdictions and agencies, people, systems and their keys, rules and calendars. Each page is for
the administrator whose operation it calls; the three stay apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.console.acts import Making, agencies_offered, make_routes
from app.console.forms import Act, Field, Form, Sent, validated
from app.console.sheets import Cell, Link, Register, Table, onward
from app.console.view import View, looking, permit_page
from app.identity import api as identity
from app.identity import calendars_api as calendars
from app.identity import clients_api as clients
from app.identity import people_api as people
from app.identity.profiles import profile_for
from app.kernel.actor import ROLE_NAMES, Role, Scope
from app.kernel.errors import NotFound, Problem
from app.kernel.text import Text
from app.kernel.wire import Cursor

router = APIRouter(include_in_schema=False)
permit_page("console.agencies", like="agency.list")
permit_page("console.jurisdictions", like="jurisdiction.list")
permit_page("console.people", like="person.list")
permit_page("console.person_act", like="person.suspend")
permit_page("console.clients", like="client.list")
permit_page("console.client", like="client.keys")
permit_page("console.client_act", like="client.suspend")
permit_page("console.client_key", like="client.add_key")
permit_page("console.rules", like="calendar.list")


@router.get("/agencies", operation_id="console.agencies")
def list_agencies(view: Annotated[View, looking("console.agencies")], cursor: Cursor = None) -> Response:
    """Registered agencies."""
    found = identity.list_agencies(view.session, 50, cursor)
    rows = [
        [
            Cell(Text(row.name, row.name_en or row.name)), Cell(row.credit_code or row.local_code or "", code=True),
            Cell(row.responsible_leader or "", below=row.internal_office),
            Cell(Text("已核实", "verified") if row.verified else Text("待核实", "not verified"), state="published" if row.verified else "filed"),
        ]
        for row in found.items
    ]  # fmt: skip
    title = Text("单位", "Agencies")
    columns = (Text("单位", "Agency"), Text("代码", "Code"), Text("责任领导与机构", "Leader and office"), Text("核实", "Verified"))  # fmt: skip
    links = [Link("/agencies/new", Text("登记单位", "Register an agency"), main=True)] if view.may("agency.register") else []  # fmt: skip
    register = Register(title, Table(columns, rows, title), links=links, more=onward("/agencies", found.next))
    return view.page("list.html", register=register)


@router.get("/jurisdictions", operation_id="console.jurisdictions")
def list_jurisdictions(
    view: Annotated[View, looking("console.jurisdictions")], cursor: Cursor = None
) -> Response:
    """The tree of jurisdictions."""
    found = identity.list_jurisdictions(view.session, 100, cursor)
    rows = [
        [Cell(row.code, code=True), Cell(Text("　" * row.level + row.name, "　" * row.level + row.name_en)), Cell(row.level)]
        for row in found.items
    ]  # fmt: skip
    title = Text("行政区划", "Jurisdictions")
    columns = (Text("代码", "Code"), Text("名称", "Name"), Text("级别", "Level"))
    links = [Link("/jurisdictions/new", Text("登记行政区划", "Register a jurisdiction"), main=True)] if view.may("jurisdiction.register") else []  # fmt: skip
    register = Register(title, Table(columns, rows, title), links=links, more=onward("/jurisdictions", found.next))  # fmt: skip
    return view.page("list.html", register=register)


def _register_agency(view: View, body: identity.NewAgency) -> str:
    identity.register_agency(body, view.actor, view.session)
    return "/agencies"


def _register_jurisdiction(view: View, body: identity.NewJurisdiction) -> str:
    identity.register_jurisdiction(body, view.actor, view.session)
    return "/jurisdictions"


# --- People: the security administrator


@router.get("/people", operation_id="console.people")
def list_people(view: Annotated[View, looking("console.people")], cursor: Cursor = None) -> Response:
    """People of the agencies in one's own jurisdiction and below."""
    found = identity.list_people(view.actor, view.session, 50, cursor)
    names = agencies_offered(view)
    return view.page(
        "administration/people.html", people=found.items, agencies=names, role_names=ROLE_NAMES, shown=None,
        more=onward("/people", found.next), may_change=view.may("person.suspend"), may_add=view.may("person.register"),
    )  # fmt: skip


def _register_person(view: View, body: identity.NewPerson) -> Response:
    return _secret(view, identity.register_person(body, view.actor, view.session))


def _secret(view: View, told: identity.Secret) -> Response:
    return view.page("administration/secret.html", here="/people", told=told)


@router.post("/people/{id:uuid}/{act}", operation_id="console.person_act")
def act_on_person(
    view: Annotated[View, looking("console.person_act")], id: UUID, act: str, form: Sent
) -> Response:
    """Stop a person or let them in again, end their sessions, reset their second factor, give a new secret."""
    if act == "issue_secret":
        return _secret(view, identity.issue_secret(id, view.actor, view.session))
    if act in ("suspend", "resume"):
        why = validated(people.Why, {"reason": form.text("reason")})
        (people.suspend_person if act == "suspend" else people.resume_person)(
            id, why, view.actor, view.session
        )
    elif act == "end_sessions":
        people.end_sessions(id, view.actor, view.session)
    elif act == "reset_second_factor":
        people.reset_second_factor(id, view.actor, view.session)
    else:
        raise NotFound()
    return view.to("/people")


# --- Systems and their keys


@router.get("/clients", operation_id="console.clients")
def list_clients(view: Annotated[View, looking("console.clients")], cursor: Cursor = None) -> Response:
    """Systems of the agencies in one's own jurisdiction and below."""
    found = clients.list_clients(view.actor, view.session, 50, cursor)
    names = agencies_offered(view)
    rows = [
        [
            Cell(row.title, f"/clients/{row.id}", below=row.name), Cell(names.get(str(row.agency_id), "")), Cell(", ".join(row.scopes)),
            Cell(Text("启用", "active") if row.active else Text("停用", "suspended"), state="active" if row.active else "stopped"),
        ]
        for row in found.items
    ]  # fmt: skip
    title = Text("应用系统", "Systems")
    columns = (
        Text("系统", "System"),
        Text("单位", "Agency"),
        Text("授权范围", "Scopes"),
        Text("状态", "State"),
    )
    links = [Link("/clients/new", Text("登记系统", "Register a system"), main=True)] if view.may("client.register") else []  # fmt: skip
    register = Register(title, Table(columns, rows, title, Text("没有系统。", "No systems.")), links=links, more=onward("/clients", found.next))  # fmt: skip
    return view.page("list.html", register=register)


@router.get("/clients/{id:uuid}", operation_id="console.client")
def client_page(view: Annotated[View, looking("console.client")], id: UUID) -> Response:
    """One system with its keys."""
    return _client(view, id, None)


def _client(view: View, id: UUID, problem: Problem | None) -> Response:
    keys = clients.list_client_keys(id, view.actor, view.session)
    row = clients.ClientOut.model_validate(clients._client(view.session, id, view.actor))
    return view.page(
        "administration/client.html", status=problem.status if problem else 200, here=f"/clients/{id}", client=row,
        keys=keys, agencies=agencies_offered(view), may_change=view.may("client.suspend"), problem=problem,
    )  # fmt: skip


@router.post("/clients/{id:uuid}/keys", operation_id="console.client_key")
def change_keys(view: Annotated[View, looking("console.client_key")], id: UUID, form: Sent) -> Response:
    """Add a public key, or take one back."""
    try:
        with view.session.begin_nested():
            if form.text("drop"):
                clients.remove_client_key(id, form.text("drop"), view.actor, view.session)
            else:
                body = validated(clients.NewKey, {"jwk": _jwk(form)})
                clients.add_client_key(id, body, view.actor, view.session)
    except Problem as problem:
        return _client(view, id, problem)
    return view.to(f"/clients/{id}")


@router.post("/clients/{id:uuid}/{act}", operation_id="console.client_act")
def act_on_client(
    view: Annotated[View, looking("console.client_act")], id: UUID, act: str, form: Sent
) -> Response:
    """Stop a system, or let it work again."""
    if act not in ("suspend", "resume"):
        raise NotFound()
    try:
        with view.session.begin_nested():
            why = validated(clients.Why, {"reason": form.text("reason")} if form.text("reason") else {})
            (clients.suspend_client if act == "suspend" else clients.resume_client)(
                id, why, view.actor, view.session
            )
    except Problem as problem:
        return _client(view, id, problem)
    return view.to(f"/clients/{id}")


def _jwk(form: Form) -> Any:
    try:
        return json.loads(form.text("jwk"))
    except ValueError:
        return form.text("jwk")


def _read_client(form: Form) -> Mapping[str, Any]:
    plain = {name: form.text(name) for name in ("name", "title", "agency_id", "jwks_uri") if form.text(name)}
    picked = [scope.value for scope in Scope if form.text(f"scope_{scope.value}")]
    return {**plain, "scopes": picked} | ({"jwk": _jwk(form)} if form.text("jwk") else {})


def _register_client(view: View, body: clients.NewClient) -> str:
    return f"/clients/{clients.register_client(body, view.actor, view.session).id}"


# --- Rules and calendars


@router.get("/rules", operation_id="console.rules")
def rules_page(view: Annotated[View, looking("console.rules")]) -> Response:
    """The rule profile in force for the reader's jurisdiction, and the published calendars."""
    profile = profile_for(view.session, view.actor.jurisdiction_id) if view.actor.jurisdiction_id else None
    published = calendars.list_calendars(view.session, view.actor)
    return view.page("administration/rules.html", profile=profile, calendars=published)


make_routes(
    router, Making("/agencies", Text("单位", "Agencies")), "new", "new_agency", Text("登记单位", "register an agency"),
    Act(_register_agency, identity.NewAgency, (
        Field("name", Text("单位名称", "Name"), "line"), Field("name_en", Text("英文名称", "English name"), "line", False),
        Field("jurisdiction_code", Text("行政区划代码", "Division code"), "line"), Field("credit_code", Text("统一社会信用代码", "Credit code"), "line"),
        Field("responsible_leader", Text("责任领导", "Responsible leader"), "line"), Field("internal_office", Text("责任机构", "Responsible office"), "line"),
        Field("authority", Text("是本行政区划的主管部门", "It is the authority of its jurisdiction"), "check", False),
    )), like="agency.register",
)  # fmt: skip
make_routes(
    router, Making("/jurisdictions", Text("行政区划", "Jurisdictions")), "new", "new_jurisdiction",
    Text("登记行政区划", "register a jurisdiction"),
    Act(_register_jurisdiction, identity.NewJurisdiction, (
        Field("code", Text("代码", "Code"), "line"), Field("name", Text("名称", "Name"), "line"), Field("name_en", Text("英文名称", "English name"), "line"),
        Field("parent_code", Text("上级代码", "Code of the one above"), "line", False),
    )), like="jurisdiction.register",
)  # fmt: skip


def _read_person(form: Form) -> Mapping[str, Any]:
    plain = {name: form.text(name) for name in ("login", "name", "agency_id") if form.text(name)}
    roles = [role.value for role in Role if form.text(f"role_{role.value}")]
    return {**plain, "roles": roles, "contractor": bool(form.text("contractor"))}


make_routes(
    router, Making("/people", Text("人员", "People")), "new", "new_person", Text("登记人员", "register a person"),
    Act(_register_person, identity.NewPerson, (
        Field("login", Text("登录名", "Login"), "line"), Field("name", Text("姓名", "Name"), "line"),
        Field("agency_id", Text("单位", "Agency"), "select", options=agencies_offered),
        *(Field(f"role_{role.value}", ROLE_NAMES[role], "check", False) for role in Role),
        Field("contractor", Text("外包人员（不得接触数据）", "Staff of a supplier (no rights to data)"), "check", False),
    ), reads=_read_person, says=Text("一次性口令只显示这一次。", "The one-time secret is shown this once.")), like="person.register",
)  # fmt: skip
make_routes(
    router, Making("/clients", Text("应用系统", "Systems")), "new", "new_client", Text("登记系统", "register a system"),
    Act(_register_client, clients.NewClient, (
        Field("name", Text("标识", "Name"), "line"), Field("title", Text("系统名称", "Title"), "line"),
        Field("agency_id", Text("单位", "Agency"), "select", options=agencies_offered),
        *(Field(f"scope_{scope.value}", Text(f"授权范围 {scope.value}", f"Scope {scope.value}"), "check", False) for scope in Scope),
        Field("jwk", Text("公钥（JWK）", "Public key (JWK)"), required=False), Field("jwks_uri", Text("或公钥集地址", "Or the address of its key set"), "line", False),
    ), reads=_read_client), like="client.register",
)  # fmt: skip
