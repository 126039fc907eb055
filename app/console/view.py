"""What every page has in common: who looks, in which language, and how a template becomes a response.

Owns the language choice and the template environments. Knows no feature; a page that shows what the API
shows asks the same functions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from babel import Locale as BabelLocale
from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal
from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.orm import Session

import app.identity.api
import app.identity.ledger_api
import app.identity.people_api  # noqa: F401
import exchange.requests.api  # noqa: F401 - pages are registered like the API's operations
from app.console.words import FIELD_NAMES, PARTY_NAMES, tone
from app.identity import sessions
from app.identity.cases import Asked
from app.identity.permissions import REGISTRY, check, may, permit, permitted
from app.kernel.actor import ANONYMOUS, ROLE_NAMES, Actor, ActorKind
from app.kernel.calendar import BEIJING
from app.kernel.db import DbSession
from app.kernel.errors import Fault, NotPermitted, Problem
from app.kernel.law import cite
from app.kernel.text import DEFAULT_LOCALE, Locale, Text, negotiate_locale
from app.kernel.wire import Label
from catalog.resources.codes import UPDATE_CYCLES
from catalog.resources.labels import label
from catalog.resources.states import DEFECT
from exchange.terms import METHOD_NAMES

LANGUAGE_COOKIE = "zhengtong-language"
LANGUAGE_KEPT_S = 365 * 24 * 3600
BASKET_COOKIE = "zhengtong-basket"
BASKET_LIMIT = 50
_ID = re.compile(r"[0-9a-f]{32}")
FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"


def static_address(name: str) -> str:
    """The address of a file that every page needs; it changes with the file."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the console with its pages, each for whoever may call the operation behind it."""

    label: Text
    pages: tuple[tuple[str, Text, str], ...]


NAVIGATION = (
    Section(Text("首页", "Home"), (("/", Text("首页", "Home"), "console.home"),)),
    Section(Text("资源目录", "Catalog"), (
        ("/catalog", Text("检索", "Search"), "console.catalog"),
        ("/basket", Text("选购篮", "Basket"), "console.basket"),
        ("/records", Text("本单位目录", "Our records"), "console.records"),
        ("/review", Text("审核台", "Review desk"), "console.review"),
        ("/imports", Text("批量导入", "Imports"), "console.imports"),
        ("/quality", Text("目录质量", "Quality"), "console.quality"),
        ("/following", Text("关注", "Following"), "console.following"),
    )),
    Section(Text("共享", "Sharing"), (
        ("/requests", Text("共享申请", "Requests"), "console.requests"),
        ("/negotiations", Text("协商", "Negotiations"), "console.negotiations"),
        ("/agreements", Text("协议", "Agreements"), "console.agreements"),
        ("/corrections", Text("校核", "Corrections"), "console.corrections"),
        ("/policies", Text("自动同意规则", "Policies"), "console.policies"),
    )),
    Section(Text("争议", "Disputes"), (
        ("/disputes", Text("案件", "Docket"), "console.disputes"),
        ("/rulings", Text("裁决先例", "Precedents"), "console.rulings"),
    )),
    Section(Text("采集", "Collection"), (
        ("/plans", Text("采集计划", "Plans"), "console.plans"),
        ("/findings", Text("重复采集", "Findings"), "console.findings"),
        ("/audit", Text("审计台", "Audit desk"), "console.audit"),
        ("/audits", Text("全目录审计", "Audits"), "console.catalog_audits"),
        ("/notices", Text("通报", "Notices"), "console.notices"),
        ("/precedents", Text("正当理由先例", "Precedents"), "console.precedents"),
    )),
    Section(Text("监督", "Supervision"), (
        ("/supervision", Text("指标", "Figures"), "console.supervision"),
        ("/sharing", Text("共享关系", "Who shares"), "console.sharing"),
        ("/report", Text("年度报告", "Yearly report"), "console.report"),
    )),
    Section(Text("存证", "Ledger"), (("/ledger", Text("存证", "Ledger"), "console.ledger"),)),
    Section(Text("管理", "Administration"), (
        ("/agencies", Text("单位", "Agencies"), "console.agencies"),
        ("/jurisdictions", Text("行政区划", "Jurisdictions"), "console.jurisdictions"),
        ("/people", Text("人员", "People"), "console.people"),
        ("/clients", Text("应用系统", "Systems"), "console.clients"),
        ("/rules", Text("规则与日历", "Rules and calendar"), "console.rules"),
        ("/endpoints", Text("数据源", "Data sources"), "console.endpoints"),
        ("/gateways", Text("网关", "Gateways"), "console.gateways"),
    )),
    Section(Text("说明", "Help"), (("/help", Text("办理流程", "How cases move"), "console.help"),)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A section of the navigation as the reader has it, and which of its pages is open."""

    label: Text
    href: str
    current: bool
    pages: tuple[tuple[str, Text, bool], ...]


def places(actor: Actor, path: str) -> list[Place]:
    """The sections that the reader may open; of each the pages."""
    found = []
    for section in NAVIGATION:
        pages = [(to, label) for to, label, operation in section.pages if may(actor, operation)]
        if pages:
            told = tuple((to, label, _is_in(path, to)) for to, label in pages)
            found.append(Place(section.label, pages[0][0], any(here for _, _, here in told), told))
    return found


def _is_in(path: str, to: str) -> bool:
    return path == to or (to != "/" and path.startswith(f"{to}/"))


# Of which operation of the API a page shows the answer; the table of who may see what holds for both.
LIKE: dict[str, str] = {}


def permit_page(operation: str, *, like: str) -> None:
    """Register a page for the people who may call the API's operation `like`."""
    row = REGISTRY[like]
    LIKE[operation] = like
    permit(operation, roles=row.roles, anonymous=row.anonymous, authority=row.authority)


@dataclass(frozen=True, slots=True)
class View:
    """One page being made: the request, its transaction, who looks and in which language."""

    request: Request
    session: Session
    actor: Actor
    locale: Locale

    def may(self, operation: str) -> bool:
        """Whether the actor may call an operation at all."""
        return may(self.actor, operation)

    def asked(self, case: E) -> Asked[E]:
        """A case as the API's own functions take it."""
        return Asked(self.session, case, self.actor, Response())

    def page(self, template: str, *, status: int = 200, here: str | None = None, **context: Any) -> Response:
        """The rendered template. `here` is the page's own address where a form was sent to another."""
        return render(self.request, self.actor, self.locale, template, status=status, here=here, **context)

    def to(self, address: str) -> Response:
        """After an act: go and read (303)."""
        return RedirectResponse(address, 303)


@dataclass(frozen=True, slots=True)
class Seen(Generic[E_co]):
    """A case that the actor may know of, on a page."""

    view: View
    case: E_co

    @property
    def asked(self) -> Asked[E_co]:
        return self.view.asked(self.case)


class Find(Protocol[E_co]):
    def __call__(self, session: Session, case_id: UUID, /, *, by: Actor) -> E_co: ...


def looking(operation: str) -> Any:
    """Dependency of a page: the operation's door, then the View."""

    def view(request: Request, session: DbSession, actor: Actor = permitted(operation)) -> View:
        request.state.locale = locale = locale_of(request, actor)
        return View(request, session, actor, locale)

    return Depends(view, scope="function")


def looking_at(operation: str, find: Find[E_co]) -> Any:
    """Dependency of a page on `/{id}`: the door, then `find`, which knows who may know."""

    def seen(id: UUID, view: View = looking(operation)) -> Seen[E_co]:
        return Seen(view, find(view.session, id, by=view.actor))

    return Depends(seen, scope="function")


def acting_on(kind: str, find: Find[E_co], part: str) -> Any:
    """Dependency of the routes of `/{id}/{act}`: whoever may do `kind.act` over the API, then `find`. `part` is
    "step" for the act's page, "act" for doing it."""

    def seen(id: UUID, act: str, view: View = looking(f"console.{kind}_{part}")) -> Seen[E_co]:
        if f"{kind}.{act}" not in REGISTRY:
            raise NotPermitted()
        check(view.actor, f"{kind}.{act}")
        return Seen(view, find(view.session, id, by=view.actor))

    return Depends(seen, scope="function")


def locale_of(request: Request, actor: Actor) -> Locale:
    """?lang=, else the person's own choice, else this browser's of before, else what it asks for."""
    if chosen := request.query_params.get("lang"):
        return as_locale(chosen)
    if actor.kind is ActorKind.PERSON:
        return actor.locale
    if kept := request.cookies.get(LANGUAGE_COOKIE):
        return as_locale(kept)
    return negotiate_locale(request.headers.get("accept-language"))


def as_locale(chosen: str) -> Locale:
    """The language that a tag names; Chinese for all but English."""
    return "en" if chosen.lower().startswith("en") else DEFAULT_LOCALE


def basket_of(request: Request) -> list[UUID]:
    """The resources that this browser has put aside to ask for or compare."""
    kept = request.cookies.get(BASKET_COOKIE, "").split(".")[:BASKET_LIMIT]
    return [UUID(one) for one in kept if _ID.fullmatch(one)]


def render(
    request: Request,
    actor: Actor,
    locale: Locale,
    template: str,
    /,
    *,
    status: int = 200,
    here: str | None = None,
    **context: Any,
) -> Response:
    """A template as a response in `locale`; a language asked for by ?lang= is kept in a cookie."""
    address = here or request.url.path
    query = (
        []
        if here
        else [pair for pair in request.query_params.multi_items() if pair[0] not in ("lang", "done")]
    )
    body = (
        _ENVIRONMENTS[locale]
        .get_template(template)
        .render(
            actor=actor,
            signed_in=actor.kind is ActorKind.PERSON,
            roles=[ROLE_NAMES[role] for role in sorted(actor.roles)],
            navigation=places(actor, request.url.path),
            basket=len(basket_of(request)),
            may=lambda operation: may(actor, operation),
            path=request.url.path,
            here=f"{address}?{urlencode(query)}" if query else address,
            faults=_by_field(context.get("problem")),
            other_language=f"{address}?{urlencode([*query, ('lang', 'zh-CN' if locale == 'en' else 'en')])}",
            **context,
        )
    )
    headers = {"Content-Language": locale, "Vary": "Accept-Language, Cookie"}
    response = HTMLResponse(body, status, headers)
    if request.query_params.get("lang"):
        response.set_cookie(
            LANGUAGE_COOKIE, locale, max_age=LANGUAGE_KEPT_S, samesite="lax", httponly=True,
            secure=sessions.is_secure(request),
        )  # fmt: skip
    return response


def _by_field(problem: Problem | None) -> dict[str, list[Fault]]:
    """The faults of a problem by the field of the page that each belongs to."""
    found: dict[str, list[Fault]] = {}
    for fault in problem.faults if problem is not None else ():
        found.setdefault(place_of(fault.field), []).append(fault)
    return found


def place_of(pointer: str) -> str:
    """The page's field that a fault's pointer leads to: `/terms/quota/rows_per_call` is `rows_per_call`."""
    parts = [part for part in pointer.split("/") if part not in ("", "terms", "quota", "record", "query")]
    return "-".join(parts)


def field_name(pointer: str) -> Text:
    """What people call the field of a fault."""
    plain = "/" + "/".join(part for part in pointer.split("/") if part and not part.isdigit())
    for start in ("/record", "/terms", "/quota", "/resources", "/query"):
        plain = plain.removeprefix(start) if plain.startswith(f"{start}/") else plain
    last = plain.rsplit("/", 1)[-1]
    return FIELD_NAMES.get(last) or label(plain)


def actor_of(request: Request) -> Actor:
    """Who the door recognised before something went wrong."""
    found = getattr(request.state, "actor", ANONYMOUS)
    return found if isinstance(found, Actor) else ANONYMOUS


def _environment(locale: Locale) -> Environment:
    """Templates in one language. `t(zh, en, **values)` is a sentence of the page itself, `say` one that comes
    from the service in both languages."""
    # Once: looked up by name for each date, it would cost a millisecond.
    babel = BabelLocale.parse("en" if locale == "en" else "zh_CN")
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip

    def t(zh: str, en: str, **values: object) -> str:
        return Text(zh, en).with_(**values).in_(locale) if values else Text(zh, en).in_(locale)

    def say(words: Text | Label | None) -> str:
        return "" if words is None else words.en if locale == "en" else words.zh

    def day(value: date) -> str:
        return format_date(value, "long", locale=babel)

    def moment(value: datetime) -> str:
        local = value.astimezone(BEIJING).replace(tzinfo=None)
        return format_datetime(
            local, "MMM d, yyyy, HH:mm" if locale == "en" else "yyyy年M月d日 HH:mm", locale=babel
        )

    def number(value: float) -> str:
        return format_decimal(value, locale=babel)

    def put(value: object) -> str:
        if isinstance(value, Text | Label):
            return say(value)
        if isinstance(value, datetime):
            return moment(value)
        if isinstance(value, date):
            return day(value)
        if isinstance(value, int | float):
            return number(value)
        return "" if value is None else str(value)

    def law(basis: str) -> str:
        return cite(basis).in_(locale)

    functions: dict[str, Callable[..., str]] = {
        "t": t,
        "say": say,
        "day": day,
        "moment": moment,
        "number": number,
        "put": put,
        "law": law,
        "tone": tone,
        "place_of": place_of,
    }
    environment.globals.update(functions)
    environment.globals.update(
        lang=locale,
        style=static_address("zt.css"),
        htmx=static_address("htmx.min.js"),
        verifier=static_address("verify.js"),
        between="、" if locale != "en" else ", ",
        method_names=METHOD_NAMES,
        cycles=UPDATE_CYCLES,
        defect_acts=DEFECT.acts,
        parties=PARTY_NAMES,
        field_name=field_name,
    )
    return environment


_ENVIRONMENTS: dict[str, Environment] = {locale: _environment(locale) for locale in ("zh-CN", "en")}
