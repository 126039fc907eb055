"""The control plane's edge: body limits, request ids, security headers, problems in the caller's language.

Owns what every response has in common. Knows no feature.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kernel.errors import (
    PROBLEM_MEDIA_TYPE,
    Conflict,
    Invalid,
    MalformedBody,
    NotFound,
    NotPermitted,
    NotSignedIn,
    Problem,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from app.kernel.faults import fault_of
from app.kernel.logs import REQUEST
from app.kernel.text import Text, negotiate_locale

log = logging.getLogger(__name__)

BODY_LIMIT_BYTES = 1 << 20  # JSON bodies
UPLOAD_LIMIT_BYTES = 64 << 20  # files and batches of receipts, on the paths named in UPLOAD_PATHS
UPLOAD_PATHS = ("/api/v1/imports", "/imports/new", "/catalog/import", "/api/v1/gateway/receipts")
ATTACHMENT_LIMIT_BYTES = 9 << 20  # with the form around it; on paths that end in ATTACHING
ATTACHING = "/attach"

STRICT_TRANSPORT = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Edge:
    """ASGI middleware: refuses bodies over the limit while they arrive, names each request, sets the
    headers that protect readers. A body is counted as it streams, so a false Content-Length gains nothing."""

    def __init__(self, app: ASGIApp, https: bool = False) -> None:
        self.app = app
        self.headers = SECURITY_HEADERS | (STRICT_TRANSPORT if https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = body_limit(scope["path"])
        request_id = str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        REQUEST.set(request_id)
        headers = dict(scope["headers"])
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise _BodyTooLarge(limit)
            return message

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {key.lower() for key, _ in message["headers"]}
                extra = {**self.headers, "Request-Id": request_id}
                log.info(
                    "answered",
                    extra={"method": scope["method"], "path": scope["path"], "status": message["status"]},
                )
                message["headers"] = [
                    *message["headers"],
                    *(
                        (k.encode(), v.encode())
                        for k, v in extra.items()
                        if k.lower().encode() not in present
                    ),
                ]
            await send(message)

        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            locale = negotiate_locale(headers.get(b"accept-language", b"").decode("latin-1"))
            body = too_large(limit).as_wire(locale, scope["path"])
            refusal = JSONResponse(
                body,
                413,
                media_type=PROBLEM_MEDIA_TYPE,
                headers={"Connection": "close", "Content-Language": locale},
            )
            await refusal(scope, receive, named)
            return
        await self.app(scope, counted, named)


def body_limit(path: str) -> int:
    """How many bytes a request to `path` may carry."""
    if path.startswith(UPLOAD_PATHS):
        return UPLOAD_LIMIT_BYTES
    return ATTACHMENT_LIMIT_BYTES if path.endswith(ATTACHING) else BODY_LIMIT_BYTES


def too_large(limit: int) -> TooLarge:
    """The refusal of a body over `limit` bytes."""
    message = Text("内容不得超过 {n} 字节。", "The body may not exceed {n} bytes.")
    return TooLarge(message.with_(n=limit), limit=limit)


class _BodyTooLarge(HTTPException):
    """Raised while a body is read. An HTTPException, because FastAPI takes others for a malformed body."""

    def __init__(self, limit: int) -> None:
        super().__init__(413)
        self.limit = limit


def respond(request: Request, problem: Problem) -> Response:
    """The problem as a response in the language of the actor, or else of Accept-Language: as a page for a
    browser, where the console has put one at `app.state.problem_page`, and as JSON for all others."""
    page: Callable[[Request, Problem], Response] | None = getattr(request.app.state, "problem_page", None)
    if page is not None and _for_a_browser(request):
        return page(request, problem)
    locale = getattr(request.state, "locale", None) or negotiate_locale(
        request.headers.get("accept-language")
    )
    body = problem.as_wire(locale, request.url.path)
    body["request_id"] = getattr(request.state, "request_id", None)
    headers = {"Content-Language": locale, **problem.headers}
    return JSONResponse(body, problem.status, media_type=PROBLEM_MEDIA_TYPE, headers=headers)


def _for_a_browser(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted and not request.url.path.startswith("/api/")


_BY_STATUS: dict[int, type[Problem]] = {
    400: MalformedBody, 401: NotSignedIn, 403: NotPermitted, 404: NotFound, 413: TooLarge, 415: UnsupportedMedia,
}  # fmt: skip


class _MethodNotAllowed(Problem):
    status, slug = 405, "method-not-allowed"
    title = Text("此地址不支持该方法", "This address does not know that method")


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(request, error)


def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, _BodyTooLarge):
        return respond(request, too_large(error.limit))
    if error.status_code == 405:
        return respond(request, _MethodNotAllowed(headers={"Allow": _methods_at(request)}))
    return respond(request, _BY_STATUS.get(error.status_code, Invalid)(headers=dict(error.headers or {})))


def _methods_at(request: Request) -> str:
    """What the address knows, of all its routes: the framework names the methods of the first alone."""
    routes: Sequence[APIRoute] = request.app.state.routes
    here = [route for route in routes if route.path_regex.match(request.url.path)]
    return ", ".join(sorted({method for route in here for method in route.methods or ()}))


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    entries = error.errors()
    if any(entry["type"] == "json_invalid" for entry in entries):
        return respond(request, MalformedBody(Text("请求体不是合法的 JSON。", "The body is not valid JSON.")))
    return respond(request, Invalid(faults=[fault_of(entry) for entry in entries[:100]]))


def _database_down(request: Request, error: Exception) -> Response:
    log.error("database unreachable: %s", type(error).__name__)
    return respond(
        request, Unavailable(Text("数据库暂时无法连接，请稍后再试。", "The database cannot be reached. Try again soon."),
                             headers={"Retry-After": "5"}),
    )  # fmt: skip


# Text or a number of the request itself, met before or at the column: NUL is refused by the driver, without a state.
_UNSTORABLE = {"", "22003", "22021", "22P05"}


def _database_refused(request: Request, error: Exception) -> Response:
    """What a constraint or trigger refused although the service let it through: nothing was written."""
    assert isinstance(error, DBAPIError)
    state = getattr(error.orig, "sqlstate", None) or ""
    if isinstance(error, DataError) and state in _UNSTORABLE:
        return respond(request, Invalid(Text("含有不能保存的字符或者过大的数值。", "Holds a character or a number that cannot be stored.")))  # fmt: skip
    log.error("database refused: sqlstate %s", state, exc_info=error)
    if state in ("40001", "40P01", "23505", "55P03"):
        return respond(
            request,
            Conflict(
                Text("与同时进行的操作冲突，请重试。", "Conflicts with a concurrent change. Try again.")
            ),
        )
    return respond(request, Problem())


def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected %s on %s", type(error).__name__, request.url.path, exc_info=error)
    return respond(request, Problem())


def install(app: FastAPI, routes: Sequence[APIRoute], *, https: bool = False) -> None:
    """Put the edge around `app`; over `https` browsers are told to come by nothing else."""
    app.state.routes = routes
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(OperationalError, _database_down)
    app.add_exception_handler(DBAPIError, _database_refused)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(Edge, https=https)
