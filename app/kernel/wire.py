"""Wire types every interface shares: the base model, pages with cursors, versions in If-Match.

Owns shapes only; what they mean is the features'.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from app.kernel.db import Identified
from app.kernel.errors import Fault, Invalid, VersionMissing
from app.kernel.text import Storable, Text
from app.kernel.typed import JsonTyped

PAGE_LIMIT = 100

T = TypeVar("T")
Row = TypeVar("Row", bound=Identified)
Out = TypeVar("Out", bound=BaseModel)
NOT_A_CURSOR = Fault("/cursor", Text("不是本服务给出的翻页标记", "not a cursor this service gave"))


class Wire(JsonTyped):
    """Base of everything sent or received: unknown members are refused, values are not coerced loosely."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


def one_of(allowed: Iterable[str]) -> AfterValidator:
    """For text, or None, that is one of these: refused as a Literal refuses, which cannot be made of a table."""
    names = tuple(allowed)

    def check(value: str | None) -> str | None:
        if value is not None and value not in names:
            expected = {"expected": ", ".join(repr(name) for name in names)}
            raise PydanticCustomError("literal_error", "Input should be {expected}", expected)
        return value

    return AfterValidator(check)


class Label(Wire):
    """A Text as representations carry it: both languages."""

    zh: str
    en: str

    @classmethod
    def of(cls, text: Text) -> Label:
        return cls(zh=text.zh, en=text.en)


class Page(Wire, Generic[T]):
    """One page of a list; `next` is the cursor of the following page, absent on the last."""

    items: list[T]
    next: str | None = None


ShortText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256), Storable]
LongText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8000), Storable]

Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="每页条数 / rows per page")]
Cursor = Annotated[
    str | None, Query(max_length=500, description="上一页返回的 next / `next` of the page before")
]


class Paging(Wire):
    """How a list is asked for: the filters of a list derive from it."""

    limit: Limit = 20
    cursor: Cursor = None

    @property
    def before(self) -> UUID | None:
        """The last id of the page before."""
        return id_in_cursor(self.cursor) if self.cursor else None

    @property
    def fetch(self) -> int:
        """One row more than is shown tells whether there is a next page."""
        return self.limit + 1


def page(rows: Sequence[Row], limit: int, shown: Callable[[Sequence[Row]], list[Out]]) -> Page[Out]:
    """The page of what was fetched with `Paging.fetch`."""
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=shown(rows[:limit]), next=following)


# `next` is the last member of a Page, so that the end of the body tells.
_NEXT = re.compile(rb'"next":"([A-Za-z0-9_-]+)"\}$')


class LinkedRoute(APIRoute):
    """Route class that names the next page of a list in `Link` too (RFC 8288)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if not is_page(self.response_model):
            return handle

        async def linked(request: Request) -> Response:
            response = await handle(request)
            if found := _NEXT.search(bytes(response.body)):
                response.headers["Link"] = link_to_next(request, found[1].decode())
            return response

        return linked


def is_page(model: Any) -> bool:
    """Whether a route's response model is a Page of something."""
    return isinstance(model, type) and issubclass(model, Page)


def link_to_next(request: Request, cursor: str) -> str:
    """The `Link` to what follows, asked for as this was."""
    url = request.url.include_query_params(cursor=cursor)
    return f'<{url.path}?{url.query}>; rel="next"'


def encode_cursor(*parts: Any) -> str:
    """An opaque cursor from plain JSON values."""
    return base64.urlsafe_b64encode(json.dumps(parts, default=str).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, length: int) -> list[Any]:
    """The values of a cursor made by `encode_cursor`. Errors: Invalid."""
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        parts = None
    if not isinstance(parts, list) or len(parts) != length:
        raise Invalid(faults=[NOT_A_CURSOR])
    return parts


def read_cursor(cursor: str, read: Callable[[Any], T]) -> T:
    """The one value of a cursor as `read` takes it. Errors: Invalid, also where it is another list's."""
    try:
        return read(decode_cursor(cursor, 1)[0])
    except (ValueError, TypeError):
        raise Invalid(faults=[NOT_A_CURSOR]) from None


def id_in_cursor(cursor: str) -> UUID:
    """The id of a cursor made of one. Errors: Invalid."""
    return read_cursor(cursor, lambda value: UUID(str(value)))


def _expected_version(
    if_match: Annotated[
        str | None, Header(description='您所读到的版本，如 "3" / the version you read')
    ] = None,
) -> int:
    if if_match is None:
        raise VersionMissing(
            Text(
                "修改须在 If-Match 中带上所读到的版本号（见 ETag）。",
                "A change carries the version you read (its ETag) in If-Match.",
            )
        )
    raw = if_match.strip().removeprefix("W/").strip('"')
    if not raw.isdigit() or len(raw) > 9:
        raise Invalid(faults=[Fault("/headers/If-Match", Text("不是版本号", "not a version"))])
    return int(raw)


ExpectedVersion = Annotated[int, Depends(_expected_version)]


def set_version(response: Response, version: int) -> None:
    """Tell the reader which version it got, as a strong ETag."""
    response.headers["ETag"] = f'"{version}"'
