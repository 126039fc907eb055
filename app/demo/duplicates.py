"""The scenario's chapter on duplicate collection: a plan is checked, flagged, justified, upheld, and becomes
a share request; another plan, which asks for what nobody holds, is cleared."""

from __future__ import annotations

from pydantic import JsonValue

from app.demo import sample_city
from app.demo.sample_city import CityPlan
from app.demo.stage import Answer, Stage, StepFailed, get, post
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.text import Text

CAST = (
    "dh_housing.clerk", "dh_housing.approver", "dh_data.catalog", "transport.clerk", "transport.approver",
)  # fmt: skip

PLANNING = Text("条例第十七条：采集之前先与目录比对，避免重复采集",
                "Regulation Art. 17: check against the catalog before collecting")  # fmt: skip
REUSE = Text("809号令第十九条：能够通过共享取得的，不得重复采集",
             "Decree 809 Art. 19: what sharing can supply is not collected again")  # fmt: skip
UPHOLD = Text("条例第十七条、第四十六条第一项：无正当理由不得重复采集",
              "Regulation Art. 17 and 46(1): no collecting again without justification")  # fmt: skip

DISPUTED_ITEM = "月保障金额"
NOTHING_FLAGGED = Text(
    "所问均为目录没有的，无一标记，可以采集", "It asks what nobody holds: nothing is flagged, it may go ahead"
)
UPHELD_BECAUSE = (
    "目录中该信息由市民政局按日更新，可以共享取得；入户核实可凭共享数据逐户比对，不构成重新采集的正当理由"
    "（《信息化促进条例》第十七条、第四十六条第一项）。"
)


def check_plans(stage: Stage) -> None:
    """Play the chapter."""
    stage.chapter(
        "四、重复采集：东湖区住建局的入户调查", "4. Duplicate collection: a household survey in Donghu"
    )
    plans = {plan.id: plan for plan in sample_city.plans()}
    asked_again = _file(stage, "dh_housing", plans["plan-housing-hardship"], "住房保障计划编制")
    findings = stage.step(
        Text("逐项比对目录：查出疑似重复，列明依据和现有来源", "Item by item: what exists already, where, and why it is thought the same"),
        get(f"/api/v1/plans/{asked_again}/findings"), by="dh_housing.clerk", why=PLANNING,
        remark=_findings_in_words,
    )  # fmt: skip
    nothing_new = _file(stage, "transport", plans["plan-slow-travel"], "慢行系统建设评估")
    stage.step(
        Text("对照：另一份计划的比对结果", "In contrast: what the check said of the other plan"),
        get(f"/api/v1/plans/{nothing_new}"), by="transport.clerk", why=PLANNING,
        show=("state_name.zh", "findings", "blocked_by"),
        remark=lambda a: NOTHING_FLAGGED if set(a.members("findings").values()) == {0} else None,
    )  # fmt: skip
    flagged = {row["item"]: str(row["id"]) for row in findings.list()}
    if DISPUTED_ITEM not in flagged:
        raise StepFailed(Text("“{item}”没有被标记", "“{item}” was not flagged").with_(item=DISPUTED_ITEM))
    upheld = _answer_and_decide(stage, flagged[DISPUTED_ITEM])
    _share_instead(stage, upheld)


def _file(stage: Stage, agency: str, plan: CityPlan, matter: str) -> str:
    """The clerk drafts, the approver files; the plan's id once the check is done."""
    drafted = stage.step(
        Text("经办人编制采集计划“{title}”（{n} 个信息项）", "The clerk drafts a collection plan of {n} items").with_(
            title=plan.title_zh, n=len(plan.items)
        ),
        post("/api/v1/plans", _record(plan, matter)), by=f"{agency}.clerk", expect=201, why=PLANNING,
        show=("id", "state_name.zh", "authority.name.zh"),
    )  # fmt: skip
    plan_id = drafted.text("id")
    stage.step(
        Text("审核人报送比对", "The approver files it for the check"),
        post(f"/api/v1/plans/{plan_id}/file", version=drafted.number("version")), by=f"{agency}.approver", why=PLANNING,
        show=("state_name.zh", "findings", "coverage.share"),
    )  # fmt: skip
    return plan_id


def _answer_and_decide(stage: Stage, finding: str) -> Answer:
    """The agency justifies, the authority does not accept it; the upheld finding."""
    read = stage.step(
        Text("查看其中一项：{item}", "One of them: the monthly allowance").with_(item=DISPUTED_ITEM),
        get(f"/api/v1/findings/{finding}"), by="dh_housing.clerk", why=REUSE,
        show=("item.name", "state_name.zh", "candidates.0.resource_title", "candidates.0.agency_name",
              "candidates.0.item_name", "candidates.0.score", "candidates.0.how_to_get.zh", "deadlines.0.due_on"),
    )  # fmt: skip
    justified = stage.step(
        Text("经办人说明理由：需入户核实", "The clerk gives a reason: it must be checked at the door"),
        post(f"/api/v1/findings/{finding}/justify", {"ground": "more_current", "text": "需入户核实"},
             version=read.number("version")),
        by="dh_housing.clerk", why=UPHOLD, show=("state_name.zh", "justification.ground.label.zh", "justification.text"),
    )  # fmt: skip
    return stage.step(
        Text("东湖区主管部门认定重复采集", "Donghu's authority upholds the finding"),
        post(f"/api/v1/findings/{finding}/uphold", {"reason": UPHELD_BECAUSE}, version=justified.number("version")),
        by="dh_data.catalog", why=UPHOLD, show=("state_name.zh", "decision", "blocks"),
    )  # fmt: skip


def _share_instead(stage: Stage, upheld: Answer) -> None:
    """The filled-in request is posted as it was offered, and the item is dropped from the plan."""
    stage.step(
        Text("系统已代拟共享申请，一键提交为草稿", "The share request is filled in already; it is posted as a draft"),
        post("/api/v1/requests", upheld.at("share_request")), by="dh_housing.clerk", expect=201, why=REUSE,
        show=("id", "title", "state_name.zh", "terms.resources.0.items", "terms.purposes.0.text"),
    )  # fmt: skip
    stage.step(
        Text("该信息项改为共享取得，不再采集", "The item is had by sharing, and no longer collected"),
        post(f"/api/v1/findings/{upheld.text('id')}/share_instead", {}, version=upheld.number("version")),
        by="dh_housing.clerk", why=REUSE, show=("state_name.zh", "blocks"),
    )  # fmt: skip


def _findings_in_words(answer: Answer) -> Text:
    rows = range(len(answer.list()))
    return Text(
        f"标记 {len(rows)} 项：\n" + "\n".join(_in_words(answer, n, "zh") for n in rows),
        f"{len(rows)} items flagged:\n" + "\n".join(_in_words(answer, n, "en") for n in rows),
    )


def _in_words(answer: Answer, n: int, language: str) -> str:
    best = f"{n}.best"
    reasons = "; ".join(
        answer.text(f"{best}.reasons.{r}.text.{language}") for r in range(len(answer.list(f"{best}.reasons")))
    )
    source = f"{answer.text(f'{best}.agency_name')}《{answer.text(f'{best}.resource_title')}》{answer.text(f'{best}.item_name')}"
    return f"{answer.text(f'{n}.item')} ← {source} {answer.at(f'{best}.score')} ({reasons})"


def _record(plan: CityPlan, matter: str) -> dict[str, JsonValue]:
    """The plan as it is sent; a period that has begun meanwhile begins today."""
    starts = max(plan.period_from, legal_date(now()))
    return {
        "title": plan.title_zh, "title_en": plan.title_en, "population": plan.population_zh, "means": plan.form,
        "purpose": plan.purpose_zh, "business_matter": matter, "legal_basis": plan.legal_basis,
        "update_cycle": plan.update_cycle, "period_from": starts.isoformat(),
        "period_until": (starts + (plan.period_to - plan.period_from)).isoformat(),
        "jurisdictions": list(plan.jurisdictions), "respondents": plan.respondents,
        "minutes_per_respondent": plan.minutes_per_respondent, "project_reference": plan.project_reference,
        "items": [
            {
                "name": item.name_zh, "name_en": item.name_en, "definition": item.definition,
                "data_type": item.data_type, "length": item.length, "code_list": item.code_list,
                "is_identifier": item.is_identifier,
            }
            for item in plan.items
        ],
    }  # fmt: skip
