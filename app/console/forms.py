"""Forms as browsers send them: read into the API's own bodies, so that a page and a client are held to the
same rules, and kept as sent where something was wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData, UploadFile

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

    def file(self, name: str) -> UploadFile | None:
        """The file of a field; None where none was chosen."""
        value = self.data.get(name)
        return value if isinstance(value, UploadFile) and value.filename else None

    @property
    def version(self) -> int:
        """The version of the case that the page showed. Errors: Invalid."""
        sent = self.text("version")
        if not sent.isdigit() or len(sent) > 9:
            raise Invalid(faults=[Fault("/version", Text("不是版本号", "not a version"))])
        return int(sent)


class Entered(dict[str, Any]):
    """Values of a form, nested as a record is; what was not entered is None."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__((name, _entered(value)) for name, value in values.items())

    def __missing__(self, name: str) -> None:
        return None


def _entered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Entered(value)
    return [_entered(one) for one in value] if isinstance(value, list) else value


async def _sent(request: Request) -> AsyncIterator[Form]:
    async with request.form(max_fields=FIELD_LIMIT, max_files=1) as data:
        yield Form(data, str(request.path_params.get("act", "")))


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


Kind = Literal["line", "area", "number", "date", "select", "check", "file", "hidden"]
Options = Mapping[str, Text]


UNNAMED = Text("", "")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form, by the name it has in the API's body. `options` are for a select: what there is, or
    how to find it for the page; a hidden field takes its value from the page's context under its name."""

    name: str
    label: Text = UNNAMED
    kind: Kind = "area"
    required: bool = True
    hint: Text | None = None
    options: Options | Callable[[Any], Options] | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """An act that a page offers: the API's own route function, the body it takes and the fields it asks for.

    `says` is told beside what the machine tells of its consequences; `part` is a template shown in the form, for
    what is signed; `terms` puts the form of terms into it. A `grave` act cannot be taken back. `reads` makes the body of the form where its
    fields are not the body's own; `takes_file` is for an act on a file and the term it stands beside.
    """

    perform: Callable[..., Any]
    body: type[BaseModel] | None = None
    fields: Sequence[Field] = ()
    says: Text | None = None
    part: str = ""
    terms: bool = False
    grave: bool = False
    reads: Callable[[Form], Mapping[str, Any]] | None = None
    takes_file: bool = False


REASON = Field("reason", Text("理由", "Reason"))
NOTE = Field("reason", Text("说明", "Note"), required=False)


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
        if act.takes_file:
            return act.perform(asked, form.version, _file(form), form.text("field"))
        if act.body is None:
            return act.perform(asked, form.version)
        return act.perform(asked, form_body(act, form, terms), form.version)


def form_body(act: Act, form: Form, terms: Mapping[str, Any] | None = None) -> Any:
    """The act's body as the form gives it. Errors: Invalid."""
    assert act.body is not None, "an act without a body has no form"
    values = dict(act.reads(form)) if act.reads else _plain(form, act.body)
    return validated(act.body, values if terms is None else {**values, "terms": terms})


def _plain(form: Form, body: type[BaseModel]) -> dict[str, Any]:
    """The body's own fields as they were sent; what was left blank is absent."""
    return {name: form.text(name) for name in body.model_fields if name != "terms" and form.text(name)}


def _file(form: Form) -> UploadFile:
    file = form.file("file")
    if file is None:
        raise Invalid(faults=[Fault("/file", Text("没有选择文件", "no file was chosen"))])
    return file
