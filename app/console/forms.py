"""Forms as browsers send them: read into the API's own bodies, so that a page and a client are held to the
same rules, and kept as sent where something was wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from app.kernel.errors import Fault, Invalid, NotFound
from app.kernel.faults import fault_of
from app.kernel.text import Text

FIELD_LIMIT = 5_000  # terms name up to 500 items of several resources, each with a mask

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Form:
    """What was entered; `act` says in which of a page's forms."""

    data: FormData = field(default_factory=FormData)
    act: str = ""

    def text(self, name: str, act: str | None = None) -> str:
        """The value of a field, empty where it was not sent, or not in the form of `act`."""
        if act is not None and act != self.act:
            return ""
        value = self.data.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def all(self, name: str) -> list[str]:
        return [value.strip() for value in self.data.getlist(name) if isinstance(value, str)]

    @property
    def version(self) -> int:
        """The version of the case that the page showed. Errors: Invalid."""
        sent = self.text("version")
        if not sent.isdigit() or len(sent) > 9:
            raise Invalid(faults=[Fault("/version", Text("不是版本号", "not a version"))])
        return int(sent)


async def _sent(request: Request) -> Form:
    data = await request.form(max_fields=FIELD_LIMIT, max_files=0)
    return Form(data, str(request.path_params.get("act", "")))


Sent = Annotated[Form, Depends(_sent)]


def validated(body: type[Body], values: Mapping[str, Any]) -> Body:
    """The values as the API's body. Errors: Invalid, naming every field as the API does."""
    try:
        return body.model_validate(dict(values))
    except ValidationError as error:
        raise Invalid(faults=[fault_of(dict(entry)) for entry in error.errors()]) from None


class AskedOf(Protocol):
    """A case as the API's own functions take it."""

    @property
    def session(self) -> Session: ...


@dataclass(frozen=True, slots=True)
class Act:
    """An act that a page offers: the API's own route function and the body it takes."""

    perform: Callable[..., Any]
    body: type[BaseModel] | None = None


def perform(
    acts: Mapping[str, Act],
    asked: AskedOf,
    form: Form,
    terms: Mapping[str, Any] | None = None,
) -> Any:
    """Do the form's act, all or nothing, and return what the API would answer.

    What a refused act wrote is undone to the savepoint, so that the page can be shown again with the
    reason. Errors: those of the act.
    """
    act = acts.get(form.act)
    if act is None:
        raise NotFound()
    with asked.session.begin_nested():
        if act.body is None:
            return act.perform(asked, form.version)
        values: dict[str, Any] = {
            name: form.text(name) for name in act.body.model_fields if name != "terms" and form.text(name)
        }
        if terms is not None:
            values["terms"] = terms
        return act.perform(asked, validated(act.body, values), form.version)
