"""What every page has in common: who looks, in which language, and how a template becomes a response.

Owns the language choice and the template environments. Knows no feature; a page that shows what the API
shows asks the same functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal
from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.orm import Session

import app.identity.api
import app.identity.ledger_api  # noqa: F401
from app.identity.cases import Asked
from app.identity.permissions import REGISTRY, check, may, permit, permitted
from app.kernel.actor import ANONYMOUS, ROLE_NAMES, Actor, ActorKind
from app.kernel.calendar import BEIJING
from app.kernel.db import DbSession
from app.kernel.errors import NotPermitted
from app.kernel.law import cite
from app.kernel.text import DEFAULT_LOCALE, Locale, Text, negotiate_locale
from app.kernel.wire import Label
from exchange.terms import METHOD_NAMES

LANGUAGE_COOKIE = "zhengtong-language"
LANGUAGE_KEPT_S = 365 * 24 * 3600
FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
STYLE_VERSION = hashlib.sha256((STATIC / "zt.css").read_bytes()).hexdigest()[:12]

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)

# Where the pages are, for whoever may call the operation behind them.
NAVIGATION = (
    ("/", Text("首页", "Home"), "console.home"),
    ("/catalog", Text("资源目录", "Catalog"), "console.catalog"),
    ("/requests", Text("共享申请", "Requests"), "console.requests"),
    ("/negotiations", Text("协商", "Negotiations"), "console.negotiations"),
    ("/agreements", Text("协议", "Agreements"), "console.agreements"),
    ("/disputes", Text("争议", "Disputes"), "console.disputes"),
    ("/plans", Text("采集计划", "Collection plans"), "console.plans"),
    ("/ledger", Text("存证", "Ledger"), "console.ledger"),
)


def permit_page(operation: str, *, like: str) -> None:
    """Register a page for the people who may call the API's operation `like`."""
    row = REGISTRY[like]
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


def acting_on(kind: str, find: Find[E_co]) -> Any:
    """Dependency of the form route `/{id}/{act}`: whoever may do `kind.act` over the API, then `find`."""

    def seen(id: UUID, act: str, view: View = looking(f"console.{kind}_act")) -> Seen[E_co]:
        if f"{kind}.{act}" not in REGISTRY:
            raise NotPermitted()
        check(view.actor, f"{kind}.{act}")
        return Seen(view, find(view.session, id, by=view.actor))

    return Depends(seen, scope="function")


def locale_of(request: Request, actor: Actor) -> Locale:
    """?lang=, else the reader's own choice of before, else the person's, else what the browser asks for."""
    for chosen in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if chosen:
            return "en" if chosen.lower().startswith("en") else DEFAULT_LOCALE
    if actor.kind is ActorKind.PERSON:
        return actor.locale
    return negotiate_locale(request.headers.get("accept-language"))


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
            navigation=[(to, label) for to, label, operation in NAVIGATION if may(actor, operation)],
            path=request.url.path,
            other_language=f"{address}?{urlencode([*query, ('lang', 'zh-CN' if locale == 'en' else 'en')])}",
            **context,
        )
    )
    headers = {"Content-Language": locale, "Vary": "Accept-Language, Cookie"}
    response = HTMLResponse(body, status, headers)
    if request.query_params.get("lang"):
        secure = request.url.scheme == "https"
        response.set_cookie(
            LANGUAGE_COOKIE, locale, max_age=LANGUAGE_KEPT_S, samesite="lax", httponly=True, secure=secure
        )
    return response


def actor_of(request: Request) -> Actor:
    """Who the door recognised before something went wrong."""
    found = getattr(request.state, "actor", ANONYMOUS)
    return found if isinstance(found, Actor) else ANONYMOUS


def _environment(locale: Locale) -> Environment:
    """Templates in one language. `t(zh, en, **values)` is a sentence of the page itself, `say` one that comes
    from the service in both languages."""
    babel = "en" if locale == "en" else "zh_CN"
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
            local, "yyyy年M月d日 HH:mm" if babel == "zh_CN" else "MMM d, yyyy, HH:mm", locale=babel
        )

    def number(value: int) -> str:
        return format_decimal(value, locale=babel)

    def law(basis: str) -> str:
        return cite(basis).in_(locale)

    functions: dict[str, Callable[..., str]] = {
        "t": t,
        "say": say,
        "day": day,
        "moment": moment,
        "number": number,
        "law": law,
    }
    environment.globals.update(functions)
    environment.globals.update(
        lang=locale,
        style=f"/static/zt.css?v={STYLE_VERSION}",
        between="、" if locale != "en" else ", ",
        method_names=METHOD_NAMES,
    )
    return environment


_ENVIRONMENTS: dict[str, Environment] = {locale: _environment(locale) for locale in ("zh-CN", "en")}
