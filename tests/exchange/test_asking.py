"""What is asked before a request is filed: the providers' questions, completeness, reuse, the narrower way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.kernel.actor import Role
from exchange.requests.questions import Answer, Question, answered, check_answers, check_questions, unanswered
from tests.exchange.world import START, Json, World, slug, terms, to

CLERK, APPROVER = Role.CLERK, Role.APPROVER
RESOURCE = UUID(int=7)
ABROAD: Json = {
    "code": "abroad", "kind": "yes_no", "text": {"zh": "是否向境外提供？", "en": "Does it go abroad?"},
    "attention": [{"answers": ["yes"], "why": {"zh": "须安全评估", "en": "Needs a security assessment"}}],
}  # fmt: skip
WHERE: Json = {
    "code": "where", "kind": "choice", "text": {"zh": "存放何处？", "en": "Kept where?"},
    "options": [
        {"code": "cloud", "label": {"zh": "政务云", "en": "government cloud"}},
        {"code": "own", "label": {"zh": "自有机房", "en": "own machine room"}},
    ],
}  # fmt: skip
STAFF: Json = {
    "code": "staff", "kind": "text", "required": False, "text": {"zh": "多少人使用？", "en": "How many use it?"},
    "attention": [{"why": {"zh": "请核对人数", "en": "Check the number"}}],
}  # fmt: skip


def put(*questions: Json) -> dict[UUID, list[Question]]:
    return {RESOURCE: [Question.model_validate(question) for question in questions]}


def given(code: str, answer: str, resource: UUID = RESOURCE) -> Answer:
    return Answer(resource_id=resource, code=code, answer=answer)


@pytest.mark.parametrize(
    ("answers", "fields"),
    [
        ([given("abroad", "no"), given("where", "cloud")], []),
        ([given("abroad", "perhaps")], ["/answers/0/answer"]),
        ([given("where", "own"), given("where", "cloud")], ["/answers/1/code"]),
        ([given("unknown", "x")], ["/answers/0/code"]),
        ([given("where", "own", UUID(int=8))], ["/answers/0/code"]),
    ],
)
def test_answers_are_to_what_was_asked(answers: list[Answer], fields: list[str]) -> None:
    assert [fault.field for fault in check_answers(put(ABROAD, WHERE), answers)] == fields


def test_what_is_required_is_answered() -> None:
    missing = unanswered(put(ABROAD, WHERE, STAFF), [given("abroad", "no")])
    assert [fault.field for fault in missing] == [f"/answers/{RESOURCE}/where"]


@pytest.mark.parametrize(
    ("code", "answer", "why"),
    [
        ("abroad", "yes", "Needs a security assessment"),
        ("abroad", "no", None),
        ("staff", "3", "Check the number"),
    ],
)
def test_answers_that_need_attention_say_why(code: str, answer: str, why: str | None) -> None:
    told = {one.code: one for one in answered(put(ABROAD, WHERE, STAFF), [given(code, answer)])}
    attention = told[code].attention
    assert (attention.en if attention else None) == why
    assert told["where"].attention is None


def test_a_set_of_questions_names_each_once() -> None:
    assert [fault.field for fault in check_questions(put(ABROAD, WHERE, ABROAD)[RESOURCE])] == [
        "/questions/2/code"
    ]


@pytest.mark.parametrize(
    "change", [{"options": []}, {"kind": "text"}, {"attention": [{"answers": ["?"], "why": ABROAD["text"]}]}]
)
def test_a_question_hangs_together(world: World, change: Json) -> None:
    body = {"questions": [{**WHERE, **change}]}
    path = f"/resources/{world.publish()}/questions"
    problem = world.call("PUT", path, "civil", CLERK, version=0, body=body, expect=422)
    assert problem["errors"][0]["field"].startswith("/questions/0")


class TestQuestions:
    def ask(self, world: World, resource: UUID, *questions: Json, version: int = 0, **how: Any) -> Json:
        path = f"/resources/{resource}/questions"
        told: Json = world.call(
            "PUT",
            path,
            how.pop("agency", "civil"),
            CLERK,
            version=version,
            body={"questions": questions},
            **how,
        )
        return told

    def test_the_provider_asks_and_reads_the_answers_with_the_reason_to_look(self, world: World) -> None:
        resource = world.publish()
        assert self.ask(world, resource, ABROAD, WHERE)["version"] == 1
        drafted = world.draft(resource)
        assert [fault["field"] for fault in drafted["incomplete"]] == [
            f"/answers/{resource}/abroad", f"/answers/{resource}/where",
        ]  # fmt: skip
        problem = world.act(drafted, "file", "health", APPROVER, expect=422)
        assert slug(problem) == "incomplete"
        answers = [
            {"resource_id": str(resource), "code": "abroad", "answer": "yes"},
            {"resource_id": str(resource), "code": "where", "answer": "cloud"},
        ]
        body = {
            "title": drafted["title"],
            "terms": drafted["terms"],
            "answers": answers,
            "need_by": "2026-10-31",
        }
        amended = world.act(drafted, "amend", "health", CLERK, body)
        assert amended["incomplete"] == []
        filed = world.act(amended, "file", "health", APPROVER)
        read = world.read("negotiations", filed["negotiations"][0]["id"], "civil")
        assert read["need_by"] == "2026-10-31"
        assert [(q["code"], q["answer"], q["attention"] and q["attention"]["zh"]) for q in read["questions"]] == [
            ("abroad", "yes", "须安全评估"), ("where", "cloud", None),
        ]  # fmt: skip
        self.ask(world, resource, STAFF, version=1)
        assert world.read("negotiations", read["id"], "civil")["questions"] == read["questions"]

    def test_only_the_provider_sets_them_and_on_the_version_it_read(self, world: World) -> None:
        resource = world.publish()
        self.ask(world, resource, ABROAD, agency="health", expect=403)
        self.ask(world, resource, ABROAD)
        assert slug(self.ask(world, resource, WHERE, expect=412)) == "stale-version"
        read = world.call("GET", f"/resources/{resource}/questions", "health", CLERK)
        assert [question["code"] for question in read["questions"]] == ["abroad"]
        assert read["allowed"] == []

    def test_each_provider_reads_the_answers_to_its_own(self, world: World) -> None:
        ours, theirs = world.publish(), world.publish("market")
        self.ask(world, ours, {**ABROAD, "required": False})
        self.ask(world, theirs, {**WHERE, "required": False}, agency="market")
        body = {"title": "两个单位", "terms": terms(ours, theirs)}
        drafted = world.call("POST", "/requests", "health", CLERK, body=body, expect=201)
        filed = world.act(drafted, "file", "health", APPROVER)
        asked = {}
        for one in filed["negotiations"]:
            agency = "civil" if one["provider"]["id"] == str(world.town.id("civil")) else "market"
            case = world.read("negotiations", one["id"], agency)
            (part,) = case["terms"]["terms"]["resources"]
            asked[agency] = (part["resource_id"], [question["code"] for question in case["questions"]])
        assert asked == {"civil": (str(ours), ["abroad"]), "market": (str(theirs), ["where"])}


class TestCompleteness:
    def test_the_check_keeps_nothing_and_names_everything(self, world: World) -> None:
        resource = world.publish()
        wanted = {
            "title": "核验",
            "terms": terms(resource, valid_until="2026-01-01"),
            "need_by": "2026-01-01",
        }
        told = world.call("POST", "/requests/check", "health", CLERK, body=wanted)
        assert not told["complete"]
        assert {"/terms/valid_until"} <= {fault["field"] for fault in told["faults"]}
        wanted["terms"] = terms(resource)
        told = world.call("POST", "/requests/check", "health", CLERK, body=wanted)
        assert [fault["field"] for fault in told["faults"]] == ["/need_by"]
        told = world.call(
            "POST", "/requests/check", "health", CLERK, body={**wanted, "need_by": "2026-10-01"}
        )
        assert told == {"complete": True, "faults": []}
        assert world.call("GET", "/requests", "health", CLERK)["items"] == []

    @pytest.mark.parametrize(("measures", "status"), [("", 422), ("专网、加密", 200)])
    def test_sensitive_items_need_security_measures(self, world: World, measures: str, status: int) -> None:
        items = [{"name": "病史", "code": "name", "data_type": "C", "sensitive": True}]
        drafted = world.draft(world.publish(items=items), items=("name",), security_measures=measures)
        world.act(drafted, "file", "health", APPROVER, expect=status)


class TestAgain:
    def test_an_earlier_request_is_asked_again_from_today(self, world: World) -> None:
        first = world.draft(world.publish(), frequency="monthly")
        with world.at(START + timedelta(days=100)):
            again = world.act(first, "reuse", "health", CLERK, version=None, expect=201)
        assert (again["state"], again["reuses_id"], again["title"]) == ("DRAFT", first["id"], first["title"])
        assert (again["terms"]["valid_from"], again["terms"]["valid_until"]) == ("2026-12-27", "2027-12-26")
        assert again["terms"]["frequency"] == "monthly"

    def test_after_a_refusal_the_narrower_way_is_one_act(self, world: World) -> None:
        resource = world.publish()
        case = world.filed(resource)
        narrower = terms(resource, items=("name",))
        refusal = {"ground": "exceeds_need", "reason": "只需姓名", "narrower": narrower}
        world.act(case, "refuse", "civil", APPROVER, refusal)
        path = f"/negotiations/{case['id']}/request_narrower"
        world.call("POST", path, "civil", CLERK, expect=403)
        drafted = world.call("POST", path, "health", CLERK, expect=201)
        assert [item["code"] for item in drafted["terms"]["resources"][0]["items"]] == ["name"]
        filed = world.act(drafted, "file", "health", APPROVER)
        again = world.read("negotiations", filed["negotiations"][0]["id"], "civil")
        assert world.act(again, "agree", "civil", APPROVER, to(again["terms"]))["state"] == "FINALIZED"

    def test_nothing_narrower_was_named(self, world: World) -> None:
        refused = world.refused()
        problem = world.act(refused, "request_narrower", "health", CLERK, version=None, expect=409)
        assert slug(problem) == "wrong-moment"
