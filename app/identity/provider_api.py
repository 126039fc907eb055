"""Sign-in at the identity provider, for browsers: there, and back with a session."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.identity import sessions
from app.identity.permissions import permit, permitted
from app.identity.provider import ProviderLink
from app.kernel.errors import WrongMoment
from app.kernel.text import Text

router = APIRouter(include_in_schema=False)

CALLBACK = "/sign-in/provider/callback"
BINDING = "zhengtong-sign-in"

permit("session.begin_at_provider", "session.finish_at_provider", anonymous=True)


@router.get(
    "/sign-in/provider", operation_id="session.begin_at_provider",
    dependencies=[permitted("session.begin_at_provider")],
)  # fmt: skip
def begin(request: Request, next: str = "/") -> Response:
    """Send the browser to the identity provider."""
    begun = _link(request).begin(sessions.local_address(next))
    response = RedirectResponse(begun.address, 303)
    response.set_cookie(
        _binding(request),
        begun.binding,
        max_age=600,
        httponly=True,
        samesite="lax",
        secure=sessions.is_secure(request),
    )
    return response


@router.get(
    CALLBACK,
    operation_id="session.finish_at_provider",
    dependencies=[permitted("session.finish_at_provider")],
)
def finish(request: Request) -> Response:
    """Take the provider's answer, open a session and go back to where the person came from."""
    opened, back = _link(request).finish(
        dict(request.query_params), request.cookies.get(_binding(request)), request.headers.get("user-agent")
    )
    response = RedirectResponse(back, 303)
    sessions.give_cookie(request, response, opened.token)
    response.delete_cookie(
        _binding(request), httponly=True, samesite="lax", secure=sessions.is_secure(request)
    )
    return response


def _link(request: Request) -> ProviderLink:
    link: ProviderLink | None = request.app.state.provider
    if link is None:
        raise WrongMoment(Text("本平台未接入统一身份认证。", "No identity provider is connected here."))
    return link


def _binding(request: Request) -> str:
    return f"__Host-{BINDING}" if sessions.is_secure(request) else BINDING
