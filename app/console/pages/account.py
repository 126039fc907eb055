"""Signing in and out with a cookie, and setting one's own password."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response

from app.console.forms import Sent, validated
from app.console.view import View, looking, permit_page
from app.identity import api as identity
from app.identity import people_api as people
from app.identity import sessions
from app.identity.permissions import WHILE_LACKING
from app.identity.second_factor import SecondFactorNeeded
from app.kernel.actor import Lacking
from app.kernel.errors import Fault, Invalid, NotSignedIn, Problem
from app.kernel.text import Text

router = APIRouter(include_in_schema=False)

_DIFFER = Fault("/again", Text("两次输入的口令不一致", "the two are not the same"))

permit_page("console.sign_in", like="session.create")
permit_page("console.enter", like="session.create")
permit_page("console.sign_out", like="session.end")
permit_page("console.me", like="me.sessions")
permit_page("console.end_session", like="me.end_session")
permit_page("console.password", like="me.set_password")
permit_page("console.second_factor", like="me.begin_second_factor")
permit_page("console.begin_second_factor", like="me.begin_second_factor")
permit_page("console.confirm_second_factor", like="me.confirm_second_factor")
WHILE_LACKING.update({
    "console.password", "console.set_password", "console.sign_out", "console.second_factor",
    "console.begin_second_factor", "console.confirm_second_factor",
})  # fmt: skip
permit_page("console.set_password", like="me.set_password")


@router.get("/sign-in", operation_id="console.sign_in")
def sign_in_page(view: Annotated[View, looking("console.sign_in")], next: str = "/") -> Response:
    """The form for login and password, or one-time secret; beside it the way to the identity provider."""
    return _sign_in_form(view, sessions.local_address(next), "", None)


@router.post("/sign-in", operation_id="console.enter")
def sign_in(view: Annotated[View, looking("console.enter")], form: Sent) -> Response:
    """Sign in; whoever came with a one-time secret sets a password next, whoever lacks a second factor enrols."""
    sessions.require_same_origin(view.request)
    back, login = sessions.local_address(form.text("next")), form.text("login")
    try:
        opened = sessions.sign_in(
            view.session, login=login, secret=form.text("secret"), code=form.text("code") or None,
            seal=view.request.app.state.keys.seal, device=view.request.headers.get("user-agent"),
        )  # fmt: skip
    except SecondFactorNeeded as problem:
        return _sign_in_form(view, back, login, problem, status=401)
    if opened is None:  # shown, not raised: the count of failures must be committed
        return _sign_in_form(view, back, login, NotSignedIn(sessions.SIGN_IN_REFUSED), status=401)
    if earlier := sessions.session_token(view.request):
        sessions.sign_out(view.session, earlier)
    if opened.lacks is Lacking.SECOND_FACTOR:
        back = "/second-factor"
    elif opened.person.password_hash is None or opened.lacks is Lacking.PASSWORD:
        back = "/password"
    response = view.to(back)
    sessions.give_cookie(view.request, response, opened.token)
    return response


def _sign_in_form(
    view: View, back: str, login: str, problem: Problem | None, *, status: int = 200
) -> Response:
    provider = view.request.app.state.provider is not None
    return view.page(
        "sign_in.html",
        status=status,
        here="/sign-in",
        next=back,
        login=login,
        problem=problem,
        provider=provider,
    )


@router.get("/second-factor", operation_id="console.second_factor")
def second_factor_page(view: Annotated[View, looking("console.second_factor")]) -> Response:
    """What a second factor is, and the way to a key for the authenticator."""
    return view.page("second_factor.html", problem=None, key=None, codes=None)


@router.post("/second-factor", operation_id="console.begin_second_factor")
def begin_second_factor(view: Annotated[View, looking("console.begin_second_factor")]) -> Response:
    """The key for the authenticator, and the form for a first code."""
    key = people.begin_second_factor(view.actor, view.request, view.session)
    return view.page("second_factor.html", here="/second-factor", problem=None, key=key, codes=None)


@router.post("/second-factor/confirm", operation_id="console.confirm_second_factor")
def confirm_second_factor(
    view: Annotated[View, looking("console.confirm_second_factor")], form: Sent
) -> Response:
    """Put the authenticator in use; the recovery codes are shown this once."""
    code = validated(people.Code, {"code": form.text("code")})
    try:
        given = people.confirm_second_factor(code, view.actor, view.request, view.session)
    except Invalid as problem:
        key = people.AuthenticatorKey(key=form.text("key"), address=form.text("address"))
        return view.page(
            "second_factor.html", status=422, here="/second-factor", problem=problem, key=key, codes=None
        )
    return view.page("second_factor.html", here="/", problem=None, key=None, codes=given.recovery_codes)


@router.post("/sign-out", operation_id="console.sign_out")
def sign_out(view: Annotated[View, looking("console.sign_out")]) -> Response:
    """End the session."""
    identity.end_session(view.actor, view.request, view.session)
    response = view.to("/sign-in")
    sessions.take_cookie(view.request, response)
    response.headers.update(sessions.FORGET)
    return response


@router.get("/me", operation_id="console.me")
def me_page(view: Annotated[View, looking("console.me")]) -> Response:
    """Who one is here, where one is signed in, and how one proves it."""
    return view.page("me.html", sessions=people.list_sessions(view.actor, view.request, view.session))


@router.post("/me/sessions/{id:uuid}/end", operation_id="console.end_session")
def end_session(view: Annotated[View, looking("console.end_session")], id: UUID) -> Response:
    """Sign out elsewhere."""
    people.end_one_session(id, view.actor, view.request, view.session)
    return view.to("/me")


@router.get("/password", operation_id="console.password")
def password_page(view: Annotated[View, looking("console.password")]) -> Response:
    """The form for a new password."""
    return view.page("password.html", problem=None)


@router.post("/password", operation_id="console.set_password")
def set_password(view: Annotated[View, looking("console.set_password")], form: Sent) -> Response:
    """Set one's own password."""
    password = form.text("password")
    try:
        if password != form.text("again"):
            raise Invalid(faults=[_DIFFER])
        identity.set_password(
            validated(identity.NewPassword, {"password": password, "current": form.text("current") or None}),
            view.actor,
            view.request,
            view.session,
        )
    except Invalid as problem:
        return view.page("password.html", status=422, here="/password", problem=problem)
    return view.to("/")
