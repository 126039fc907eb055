"""What a provider asks of everybody who wants a resource (申请问题): questions, answers, which need attention.

Pure. Owns the shapes and what makes answers complete; where they are kept is `question_sets`' and the request's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from app.kernel.errors import Fault
from app.kernel.text import Storable, Text
from app.kernel.wire import LongText, ShortText, Wire

Kind = Literal["yes_no", "choice", "text"]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), Storable]
QUESTIONS_OF_A_RESOURCE = 30
YES_NO = ("yes", "no")


class Wording(Wire):
    """A sentence as it is written in both languages."""

    zh: Sentence
    en: Sentence


class Option(Wire):
    """One answer that may be chosen."""

    code: Code
    label: Wording


class Attention(Wire):
    """Which answers the provider has to look at, and why; with no `answers` named, any."""

    answers: Annotated[tuple[ShortText, ...], Field(max_length=20)] = ()
    why: Wording


class Question(Wire):
    """One question. `options` are for a choice alone."""

    code: Code
    text: Wording
    kind: Kind
    required: bool = True
    options: Annotated[tuple[Option, ...], Field(max_length=20)] = ()
    attention: Annotated[tuple[Attention, ...], Field(max_length=20)] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The answers there are; none where it is free text."""
        return YES_NO if self.kind == "yes_no" else tuple(option.code for option in self.options)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if (self.kind == "choice") != bool(self.options):
            raise ValueError(Text("选项仅用于且必须用于选择题", "a choice has options, nothing else has"))
        named = {answer for rule in self.attention for answer in rule.answers}
        if unknown := named - set(self.choices):
            message = Text("没有这种答案：{codes}", "no such answer: {codes}")
            raise ValueError(message.with_(codes=", ".join(sorted(unknown))))
        return self


class Answer(Wire):
    """What a requester answers to one question of one resource: a code of its choices, or free text."""

    resource_id: UUID
    code: Code
    answer: LongText


class Answered(Wire):
    """A question as it was put at filing, with its answer; `attention` is why the provider has to look at it."""

    resource_id: UUID
    code: str
    text: Wording
    kind: Kind
    answer: str | None
    answer_label: Wording | None
    attention: Wording | None


Put = Mapping[UUID, Sequence[Question]]
"""The questions that are put, by resource."""


def check_questions(questions: Sequence[Question]) -> list[Fault]:
    """What is wrong with a set of questions as a whole."""
    codes = [question.code for question in questions]
    return [
        Fault(f"/questions/{n}/code", Text("“{code}”重复", "“{code}” is there twice").with_(code=code))
        for n, code in enumerate(codes)
        if code in codes[:n]
    ]


def check_answers(put: Put, answers: Sequence[Answer]) -> list[Fault]:
    """What is wrong with answers: to what nobody asked, twice to one question, or none of its choices."""
    faults, seen = [], set()
    for n, given in enumerate(answers):
        question = _find(put, given)
        if question is None or (given.resource_id, given.code) in seen:
            message = Text("没有这个问题或者已经回答", "no such question, or it is answered already")
            faults.append(Fault(f"/answers/{n}/code", message))
        elif question.choices and given.answer not in question.choices:
            rule = Text("取值：" + "、".join(question.choices), "one of: " + ", ".join(question.choices))
            faults.append(Fault(f"/answers/{n}/answer", Text("没有这种答案", "no such answer"), rule))
        seen.add((given.resource_id, given.code))
    return faults


def unanswered(put: Put, answers: Iterable[Answer]) -> list[Fault]:
    """A fault for each required question without an answer."""
    given = {(answer.resource_id, answer.code) for answer in answers}
    rule = Text("提供方要求回答", "The provider requires an answer")
    return [
        Fault(
            f"/answers/{resource_id}/{question.code}",
            Text("未回答：{zh}", "Not answered: {en}").with_(zh=question.text.zh, en=question.text.en),
            rule,
        )
        for resource_id, questions in put.items()
        for question in questions
        if question.required and (resource_id, question.code) not in given
    ]


def answered(put: Put, answers: Iterable[Answer]) -> list[Answered]:
    """The questions with their answers, as the provider reads them."""
    given = {(answer.resource_id, answer.code): answer.answer for answer in answers}
    return [
        _answered(resource_id, question, given.get((resource_id, question.code)))
        for resource_id, questions in put.items()
        for question in questions
    ]


def _answered(resource_id: UUID, question: Question, answer: str | None) -> Answered:
    labels = {option.code: option.label for option in question.options}
    if question.kind == "yes_no":
        labels = {"yes": Wording(zh="是", en="yes"), "no": Wording(zh="否", en="no")}
    rules = [] if answer is None else question.attention
    why = next((rule.why for rule in rules if not rule.answers or answer in rule.answers), None)
    return Answered(
        resource_id=resource_id, code=question.code, text=question.text, kind=question.kind, answer=answer,
        answer_label=labels.get(answer) if answer else None, attention=why,
    )  # fmt: skip


def _find(put: Put, given: Answer) -> Question | None:
    return next((q for q in put.get(given.resource_id, ()) if q.code == given.code), None)
