"""What went wrong, as a page. Whoever is not signed in is sent to the sign-in page and comes back after."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from app.console.view import actor_of, locale_of, render
from app.identity.sessions import take_cookie
from app.kernel.errors import NotSignedIn, Problem


def problem_page(request: Request, problem: Problem) -> Response:
    """The page of a problem; for someone not signed in the way to sign in, without the dead cookie, which
    would be refused there again."""
    actor = actor_of(request)
    if isinstance(problem, NotSignedIn):
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        address = f"/sign-in?next={quote(back)}" if request.method == "GET" and back != "/" else "/sign-in"
        response = RedirectResponse(address, 303)
        take_cookie(request, response)
        return response
    page = render(
        request, actor, locale_of(request, actor), "problem.html", status=problem.status, here="/",
        problem=problem, request_id=getattr(request.state, "request_id", ""),
    )  # fmt: skip
    page.headers.update({k: v for k, v in problem.headers.items() if k.lower() != "content-language"})
    return page
