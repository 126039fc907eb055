"""Signing in and out with a cookie, and setting one's own password."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from app.console.forms import Sent, validated
from app.console.view import View, looking, permit_page
from app.identity import api as identity
from app.identity import sessions
from app.kernel.errors import Fault, Invalid, NotSignedIn
from app.kernel.text import Text

router = APIRouter(include_in_schema=False)

_DIFFER = Fault("/again", Text("两次输入的口令不一致", "the two are not the same"))

permit_page("console.sign_in", like="session.create")
permit_page("console.enter", like="session.create")
permit_page("console.sign_out", like="session.end")
permit_page("console.password", like="me.set_password")
permit_page("console.set_password", like="me.set_password")


@router.get("/sign-in", operation_id="console.sign_in")
def sign_in_page(view: Annotated[View, looking("console.sign_in")], next: str = "/") -> Response:
    """The form for login and password, or one-time secret."""
    return view.page("sign_in.html", next=_local(next), login="", problem=None)


@router.post("/sign-in", operation_id="console.enter")
def sign_in(view: Annotated[View, looking("console.enter")], form: Sent) -> Response:
    """Sign in; whoever came with a one-time secret sets a password next."""
    sessions.require_same_origin(view.request)
    back, login = _local(form.text("next")), form.text("login")
    signed_in = sessions.sign_in(view.session, login=login, secret=form.text("secret"))
    if signed_in is None:  # shown, not raised: the count of failures must be committed
        refused = NotSignedIn(sessions.SIGN_IN_REFUSED)
        return view.page("sign_in.html", status=401, here="/sign-in", next=back, login=login, problem=refused)
    person, token = signed_in
    response = view.to("/password" if person.password_hash is None else back)
    sessions.give_cookie(view.request, response, token)
    return response


@router.post("/sign-out", operation_id="console.sign_out")
def sign_out(view: Annotated[View, looking("console.sign_out")]) -> Response:
    """End the session."""
    identity.end_session(view.actor, view.request, view.session)
    response = view.to("/sign-in")
    sessions.take_cookie(view.request, response)
    return response


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
            validated(identity.NewPassword, {"password": password}), view.actor, view.session
        )
    except Invalid as problem:
        return view.page("password.html", status=422, here="/password", problem=problem)
    return view.to("/")


def _local(address: str) -> str:
    """An address of this service alone: whoever sends a link must not choose where sign-in leads."""
    return address if address.startswith("/") and not address.startswith(("//", "/\\")) else "/"
