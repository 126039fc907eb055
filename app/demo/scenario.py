"""The scenario of the sample city, played over HTTP: find, request, counter-offer, agree, pull, dispute, ruling.

Owns the plot of sharing; `stage` sends and tells, `duplicates` and `evidence` play the last two chapters.
Playing it again makes new cases beside the old ones.
"""

from __future__ import annotations

from datetime import timedelta

import httpx2
from pydantic import JsonValue

from app.demo import duplicates, evidence
from app.demo.stage import REQUEST_TIMEOUT_S, Answer, Secrets, Stage, get, post, pull
from app.demo.story import Story
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.text import Text

CAST = (
    "data.security", "data.mediator1", "data.mediator2", "dh_data.mediator1",
    "emergency.clerk", "emergency.approver", "housing.clerk", "housing.approver", "civil.clerk", "civil.approver",
    "dh_edu.clerk", "dh_edu.approver", *duplicates.CAST,
)  # fmt: skip

SUBSISTENCE_ITEMS = (
    "household_code", "id_number", "name", "household_size", "assistance_category", "monthly_amount", "benefit_status",
)  # fmt: skip
STUDENT_ITEMS = (
    "id_number", "name", "household_relation", "assistance_category", "monthly_amount", "poverty_cause", "start_date",
    "benefit_status",
)  # fmt: skip
RULED_OUT = ("monthly_amount", "poverty_cause")

ARTICLE_14 = Text(
    "809号令第十四条：无条件共享的资源应当直接共享",
    "Decree 809 Art. 14: unconditional resources are shared at once",
)
ARTICLE_20 = Text("条例第二十一条、809号令第二十条：向数据持有单位提出申请，经办、审核分离",
                  "Regulation Art. 21, Decree 809 Art. 20: ask the agency that holds it; one drafts, another files")  # fmt: skip
ARTICLE_25 = Text(
    "809号令第二十五条：不得超出履职所需的内容和范围",
    "Decree 809 Art. 25: no more content or scope than the duty needs",
)
NEGOTIATION = Text("条例第二十一条：内容、范围、用途、方式由双方商定",
                   "Regulation Art. 21: the two agree content, scope, purpose and method")  # fmt: skip
DISPUTE = Text("条例第二十一条、809号令第二十八条：跨级争议由共同的上级主管部门协调",
               "Regulation Art. 21, Decree 809 Art. 28: across levels the common superior authority mediates")  # fmt: skip
SUPPLY = Text(
    "809号令第二十二条：按协议提供，每次调用留有回执",
    "Decree 809 Art. 22: supply as agreed; every call leaves a receipt",
)


def play(base_url: str, secrets: Secrets, *, story: Story) -> None:
    """Play the whole story against the service at `base_url`; `secrets` gives each login's one-time secret.

    Errors: StepFailed at the first answer that is not the expected one.
    """
    base = base_url.rstrip("/")
    story.chapter(Text("云江市的一次政务数据共享", "Sharing government data in the city of Yunjiang"))
    story.note(
        Text(
            "条例：《信息化促进条例》；809号令：《政务数据共享条例》（国务院令第809号）。\n"
            "以下每一步都可在另一终端照抄重做：先执行 export 各行（样例人员的短时会话）。查询与拟定可重复；"
            "对已变化的记录再做同一动作，服务会以 409 或 412 拒绝。",
            "Regulation: the Informatization Promotion Regulation; Decree 809: State Council Decree 809 on sharing.\n"
            "Each step can be repeated in a second terminal after the export lines (short-lived sessions of sample "
            "people). Reading and drafting repeat as they are; an act on a record that has moved on gets 409 or 412.",
        )
    )
    story.export("ZT", base)
    with httpx2.Client(base_url=base, timeout=REQUEST_TIMEOUT_S, trust_env=False) as client:
        stage = Stage(client, secrets, story)
        stage.sign_in(*CAST)
        _unconditional(stage)
        agreement, refused = _negotiated(stage)
        _disputed(stage)
        duplicates.check_plans(stage)
        evidence.check_ledger(stage, agreement=agreement, by="housing.clerk", receipt=refused)


def _unconditional(stage: Stage) -> None:
    """An unconditional resource is agreed by policy at once."""
    stage.chapter("一、无条件共享：应急管理局取企业登记信息", "1. Unconditional: the enterprise register")
    resource = _find(stage, "emergency.clerk", "企业登记信息", "云江市市场监督管理局")
    terms = _terms(
        resource, ("credit_code", "enterprise_name", "registered_address", "industry_code", "registration_status"),
        scope="registration_status = '1' AND division_code = '980102'", method="bulk",
        purpose=("work-safety-ledger", "建立临江区生产经营单位安全监管台账", "生产经营单位安全监管",
                 "《中华人民共和国安全生产法》第六十二条"),
        quota=(24, 50_000, 20_000), retention_days=365,
    )  # fmt: skip
    negotiation = _request(stage, "emergency", "临江区在营企业登记信息", terms)
    agreed = stage.step(
        Text("没有人工等待：按目录的无条件属性，协议当即成立", "Nobody waits: the catalog says unconditional, so the agreement stands"),
        get(f"/api/v1/negotiations/{negotiation}"), by="emergency.clerk", why=ARTICLE_14,
        show=("state", "state_name.zh", "sharing", "agreement_id"), until=lambda a: a.at("agreement_id") is not None,
    )  # fmt: skip
    agreement = _agreement(stage, "emergency.clerk", agreed.text("agreement_id"))
    bearer = _admit_system(
        stage,
        "emergency-ledger",
        Text("安全监管台账系统", "work safety ledger"),
        owner="emergency.clerk",
        agreement=agreement,
        purpose="work-safety-ledger",
    )
    stage.step(
        Text("批量取数（示三行）：直接读取提供方的数据表", "Pull in bulk (three rows): straight from the provider's table"),
        pull(agreement, resource, purpose="work-safety-ledger", limit="3"), by=bearer, why=SUPPLY,
        show=("0", "1", "2"), until=_served,
    )  # fmt: skip


def _negotiated(stage: Stage) -> tuple[str, str]:
    """A conditional resource: request, counter-offer, agreement, delivery, and a refused item.
    Returns the ids of the agreement and of the refused call's receipt."""
    stage.chapter(
        "二、有条件共享：住建局复核公租房保障资格",
        "2. Conditional: the yearly review of public rental housing",
    )
    resource = _find(stage, "housing.clerk", "低保", "云江市民政局", title="最低生活保障对象信息")
    stage.step(
        Text("打开“最低生活保障对象信息”：共享条件、信息项一目了然", "Open the resource: its conditions and items"),
        get(f"/api/v1/resources/{resource}"), by="housing.clerk",
        why=Text("809号令第十四条：目录载明共享属性和条件", "Decree 809 Art. 14: the catalog states type and conditions"),
        show=("record.title", "record.provider.name", "record.sharing.type", "record.sharing.condition", "record.update_cycle"),
        remark=lambda a: Text("信息项：{zh}", "Items: {en}").with_(
            zh="、".join(str(i["name"]) for i in a.list("record.items")),
            en=", ".join(str(i["name_en"]) for i in a.list("record.items")),
        ),
    )  # fmt: skip
    terms = _terms(
        resource, SUBSISTENCE_ITEMS, scope="benefit_status = '1' AND assistance_category IN ('1', '2')", method="api",
        purpose=("public-rental-review", "公共租赁住房保障资格年度复核", "公共租赁住房保障资格审核", "《公共租赁住房管理办法》第七条"),
        quota=(1000, 20_000, 500), retention_days=180,
    )  # fmt: skip
    negotiation = _request(stage, "housing", "公租房保障家庭低保情况", terms)
    offered = _counter_offer(stage, negotiation, terms)
    agreement = _consent(stage, negotiation, offered)
    bearer = _admit_system(
        stage,
        "housing-review",
        Text("公租房资格复核系统", "public rental review"),
        owner="housing.clerk",
        agreement=agreement,
        purpose="public-rental-review",
    )
    stage.step(
        Text("取数（示两行）：证件号只留末四位，没有约定的字段一概没有", "Pull two rows: identity numbers show four digits; nothing else is there"),
        pull(agreement, resource, purpose="public-rental-review", limit="2"), by=bearer, why=SUPPLY,
        show=("0", "1"), until=_served,
        remark=Text("民政局的接口里有银行账号、联系电话、月保障金额；它们没有离开网关。",
                    "The bureau's API also holds bank account, telephone and amount; they never left the gateway."),
    )  # fmt: skip
    refused = stage.step(
        Text("改要月保障金额：拒绝，并且留下回执", "Ask for the monthly amount after all: refused, and on record"),
        pull(agreement, resource, purpose="public-rental-review", items="household_code,monthly_amount", limit="2"),
        by=bearer, why=ARTICLE_25, expect=403, show=("type", "title", "detail"),
    )  # fmt: skip
    assert refused.receipt is not None
    for login, side in (
        ("housing.clerk", Text("需求方", "requester")),
        ("civil.clerk", Text("提供方", "provider")),
    ):
        stage.step(
            Text("{side}看到同一张回执", "The {side} sees the same receipt").with_(side=side),
            get(f"/api/v1/receipts/{refused.receipt}"), by=login,
            why=Text("809号令第二十九条：使用记录至少保存三年，双方和主管部门可查",
                     "Decree 809 Art. 29: records of use are kept three years, for both sides and the authority"),
            show=("id", "at", "items", "result", "problem", "rows"), until=lambda a: a.status == 200,
        )  # fmt: skip
    return agreement, refused.receipt


def _counter_offer(stage: Stage, negotiation: str, asked: dict[str, JsonValue]) -> Answer:
    """The provider drops an item and masks another."""
    read = stage.step(
        Text("民政局收到申请，答复期限开始计算", "The civil affairs bureau has the request; its clock runs"),
        get(f"/api/v1/negotiations/{negotiation}"), by="civil.clerk",
        why=Text("809号令第二十一条：十个工作日内答复", "Decree 809 Art. 21: reply within ten working days"),
        show=("requester.name.zh", "state_name.zh", "deadlines.0.legal_basis", "deadlines.0.due_on", "allowed"),
    )  # fmt: skip
    drafted = stage.step(
        Text("民政局经办人拟定更窄的条款", "The bureau's clerk drafts narrower terms"),
        post(f"/api/v1/negotiations/{negotiation}/draft_terms", {"terms": _without(asked, "monthly_amount", last_four="id_number")},
             version=read.number("version")),
        by="civil.clerk", why=ARTICLE_25, show=("draft.number", "draft.terms_hash"),
    )  # fmt: skip
    reason = "资格复核只需确认是否在享及类别，金额超出必要范围；证件号留末四位"
    offered = stage.step(
        Text("民政局审核人提出要约：去掉月保障金额，证件号留末四位", "The approver offers: no monthly amount, identity numbers masked"),
        post(f"/api/v1/negotiations/{negotiation}/offer", {"terms_hash": drafted.text("draft.terms_hash"), "reason": reason},
             version=drafted.number("version")),
        by="civil.approver", why=NEGOTIATION, show=("state_name.zh", "terms.number", "terms.terms_hash", "rounds"),
    )  # fmt: skip
    stage.step(
        Text("住建局看到两版条款的差别", "The housing bureau sees what changed"),
        get(f"/api/v1/negotiations/{negotiation}/changes", before="1", after=str(offered.number("terms.number"))),
        by="housing.clerk", why=NEGOTIATION, remark=_changes,
    )  # fmt: skip
    return offered


def _consent(stage: Stage, negotiation: str, offered: Answer) -> str:
    """Both approvers consent to the same hash; returns the agreement's id."""
    to_terms: JsonValue = {"terms_hash": offered.text("terms.terms_hash")}
    accepted = stage.step(
        Text("住建局审核人接受要约", "The housing bureau's approver accepts"),
        post(f"/api/v1/negotiations/{negotiation}/accept", to_terms, version=offered.number("version")),
        by="housing.approver", why=NEGOTIATION, show=("state_name.zh", "terms.terms_hash"),
    )  # fmt: skip
    agreed = stage.step(
        Text("民政局审核人同意，协议成立", "The civil affairs bureau's approver agrees"),
        post(f"/api/v1/negotiations/{negotiation}/agree", to_terms, version=accepted.number("version")),
        by="civil.approver", why=ARTICLE_20, show=("state_name.zh", "agreement_id"),
    )  # fmt: skip
    return _agreement(stage, "housing.approver", agreed.text("agreement_id"))


def _disputed(stage: Stage) -> None:
    """A refusal across levels goes to the common superior, whose ruling becomes an agreement."""
    stage.chapter(
        "三、拒绝、争议与裁决：东湖区教育局认定困难学生",
        "3. Refusal, dispute and ruling: student aid in Donghu District",
    )
    resource = _find(stage, "dh_edu.clerk", "最低生活保障", "云江市民政局", title="最低生活保障对象信息")
    terms = _terms(
        resource, STUDENT_ITEMS, scope="division_code = '980104' AND benefit_status = '1'", method="api",
        purpose=("student-aid-review", "家庭经济困难学生认定", "家庭经济困难学生认定", "《学生资助资金管理办法》"),
        quota=(200, 20_000, 1000), retention_days=90,
    )  # fmt: skip
    negotiation = _request(stage, "dh_edu", "东湖区低保家庭学生认定", terms)
    _refuse(stage, negotiation)
    dispute = _open_dispute(stage, negotiation)
    agreement = _rule(stage, dispute, _without(terms, *RULED_OUT))
    _agreement(stage, "dh_edu.clerk", agreement)
    bearer = _admit_system(
        stage,
        "student-aid",
        Text("学生资助认定系统", "student aid review"),
        owner="dh_edu.clerk",
        agreement=agreement,
        purpose="student-aid-review",
    )
    stage.step(
        Text("按裁决取数：只有东湖区在享人员", "Pull as ruled: persons on the allowance in Donghu District only"),
        pull(agreement, resource, purpose="student-aid-review"), by=bearer, why=SUPPLY,
        show=("0",), until=_served,
        remark=lambda a: Text("共 {n} 行", "{n} rows").with_(n=len(a.list())),
    )  # fmt: skip


def _refuse(stage: Stage, negotiation: str) -> None:
    read = stage.step(
        Text("民政局审核人审阅申请", "The civil affairs bureau's approver reads the request"),
        get(f"/api/v1/negotiations/{negotiation}"), by="civil.approver", why=ARTICLE_25,
        show=("requester.name.zh", "authority.name.zh", "terms.terms.purposes.0.text", "allowed"),
    )  # fmt: skip
    reason = "区级单位应由学生自行提供低保证明，月保障金额、致困原因属敏感个人信息"
    stage.step(
        Text("民政局不予同意，理由代码“超出必要范围”", "The bureau refuses on the coded ground “exceeds need”"),
        post(f"/api/v1/negotiations/{negotiation}/refuse", {"ground": "exceeds_need", "reason": reason},
             version=read.number("version")),
        by="civil.approver", why=Text("809号令第二十一条：拒绝应当说明理由", "Decree 809 Art. 21: a refusal gives its reasons"),
        show=("state_name.zh", "refusal.label.zh", "refusal.legal_basis"),
    )  # fmt: skip


def _open_dispute(stage: Stage, negotiation: str) -> str:
    """Opened by the requester, admitted by the common superior, both sides heard; the dispute's id."""
    read = stage.step(
        Text("教育局审核人收到拒绝，可以报请协调", "The education bureau has the refusal and may open a dispute"),
        get(f"/api/v1/negotiations/{negotiation}"), by="dh_edu.approver", why=DISPUTE,
        show=("state_name.zh", "termination_reason_name.zh", "allowed"),
    )  # fmt: skip
    reason = "学生自行开具证明正是条例要消除的重复提交；本局只核对本区在校生家庭是否在享低保"
    opened = stage.step(
        Text("报请主管部门协调：送到共同上级，而不是东湖区自己的主管部门", "The dispute goes to the common superior, not to Donghu's own authority"),
        post(f"/api/v1/negotiations/{negotiation}/open_dispute", {"reason": reason}, version=read.number("version")),
        by="dh_edu.approver", why=DISPUTE, expect=201, show=("id", "state_name.zh", "cause_name.zh", "authority.name.zh"),
    )  # fmt: skip
    dispute = opened.text("id")
    stage.step(
        Text("东湖区主管部门的协调员看不到这件争议", "The district authority's mediator does not see it"),
        get(f"/api/v1/disputes/{dispute}"), by="dh_data.mediator1", why=DISPUTE, expect=404, show=("title",),
    )  # fmt: skip
    heard = stage.step(
        Text("市主管部门受理", "The city authority admits it"),
        post(f"/api/v1/disputes/{dispute}/admit", version=opened.number("version")), by="data.mediator1", why=DISPUTE,
        show=("state_name.zh", "deadlines.0.due_on", "deadlines.1.due_on"),
    )  # fmt: skip
    for login, who, body in (
        ("dh_edu.clerk", Text("教育局", "education bureau"),
         "认定只需确认学生家庭是否在享低保及类别。金额与致困原因可以不要，但不能要求学生自己开证明。"),
        ("civil.clerk", Text("民政局", "civil affairs bureau"),
         "本局同意在享状态和类别可以共享，反对提供月保障金额和致困原因，两项均为敏感个人信息。"),
    ):  # fmt: skip
        heard = stage.step(
            Text("{who}经办人提交陈述", "The {who}'s clerk makes a statement").with_(who=who),
            post(f"/api/v1/disputes/{dispute}/state", {"body": body}, version=heard.number("version")), by=login,
            why=Text("条例第二十一条：主管部门协调解决，双方各自陈述", "Regulation Art. 21: the authority resolves it; both sides are heard"),
            show=("state_name.zh",),
        )  # fmt: skip
    return dispute


def _rule(stage: Stage, dispute: str, granted: dict[str, JsonValue]) -> str:
    """One mediator drafts, another signs; the agreement by ruling."""
    read = stage.step(
        Text("协调员审阅双方陈述和全部要约", "The mediator reads both statements"),
        get(f"/api/v1/disputes/{dispute}"), by="data.mediator1", why=DISPUTE, show=("statements.0.body", "statements.1.body", "allowed"),
    )  # fmt: skip
    ruling: JsonValue = {
        "outcome": "grant_in_part", "terms": granted,
        "reasons": "困难学生认定属法定职责，在享状态和救助类别为认定所必需，要求学生自行开具证明没有依据；"
                   "月保障金额、致困原因为敏感个人信息，超出认定所需，不予提供。",
        "legal_basis": "《信息化促进条例》第二十一条；《政务数据共享条例》第二十八条",
    }  # fmt: skip
    drafted = stage.step(
        Text("协调员拟定裁决：部分支持，去掉月保障金额和致困原因", "A mediator drafts the ruling: grant in part"),
        post(f"/api/v1/disputes/{dispute}/draft_ruling", ruling, version=read.number("version")),
        by="data.mediator1", why=DISPUTE, show=("rulings.0.outcome_name.zh", "rulings.0.reasons", "rulings.0.legal_basis"),
    )  # fmt: skip
    ruled = stage.step(
        Text("另一名协调员签发裁决，协议随即生效", "Another mediator signs; the agreement is in force at once"),
        post(f"/api/v1/disputes/{dispute}/rule", {"ruling_id": drafted.text("rulings.0.id")}, version=drafted.number("version")),
        by="data.mediator2", why=DISPUTE, show=("state_name.zh", "rulings.0.signed_at", "agreement_id"),
    )  # fmt: skip
    return ruled.text("agreement_id")


def _changes(answer: Answer) -> Text:
    """The differences between two versions of the terms, one a line."""
    lines = {}
    for language in ("zh", "en"):
        told = [
            (
                answer.text(f"{n}.label.{language}"),
                answer.at(f"{n}.before.{language}"),
                answer.at(f"{n}.after.{language}"),
            )
            for n in range(len(answer.list()))
        ]
        lines[language] = "\n".join(
            f"{label}: {before or '—'} → {after or '—'}" for label, before, after in told
        )
    return Text(lines["zh"], lines["en"])


def _consents(answer: Answer) -> Text:
    """Who stands by the agreement."""
    given = [(str(row["party"]), str(row["kind"])) for row in answer.list("consents")]
    if not given:
        return Text("依据裁决成立，无须双方同意", "It stands by the ruling, without consents")
    kinds = {"approver": Text("审核人同意", "its approver"), "policy": Text("按政策同意", "policy")}
    parties = {"requester": Text("需求方", "requester"), "provider": Text("提供方", "provider")}
    return Text(
        "；".join(f"{parties[p].zh}：{kinds[k].zh}" for p, k in given),
        "; ".join(f"{parties[p].en}: {kinds[k].en}" for p, k in given),
    )


def _find(stage: Stage, by: str, words: str, agency: str, *, title: str | None = None) -> str:
    """Search the catalog as a clerk would; the id of the agency's resource of that title."""
    wanted = title or words

    def hits(answer: Answer) -> list[str]:
        rows = range(len(answer.list("items")) if answer.status == 200 else 0)
        named = (n for n in rows if answer.at(f"items.{n}.agency.name.zh") == agency)
        return [answer.text(f"items.{n}.id") for n in named if answer.at(f"items.{n}.title") == wanted]

    answer = stage.step(
        Text("在目录中检索“{words}”", "Search the catalog for “{words}”").with_(words=words),
        get("/api/v1/search", q=words, limit="20"), by=by,
        why=Text("条例第十七条：先查目录，能共享的不重复采集", "Regulation Art. 17: look first; do not collect what can be shared"),
        show=("total",), until=lambda a: bool(hits(a)), remark=_titles,
    )  # fmt: skip
    return hits(answer)[0]


def _titles(answer: Answer) -> Text:
    """The first few that were found."""
    named = [(f"items.{n}.title", f"items.{n}.title_en") for n in range(min(5, len(answer.list("items"))))]
    return Text("找到：{zh}", "Found: {en}").with_(
        zh="、".join(answer.text(zh) for zh, _ in named), en=", ".join(str(answer.at(en)) for _, en in named)
    )


def _request(stage: Stage, agency: str, title: str, terms: dict[str, JsonValue]) -> str:
    """The clerk drafts, the approver files; the id of the one negotiation that opens."""
    drafted = stage.step(
        Text("经办人拟定共享申请“{title}”", "The clerk drafts the request").with_(title=title),
        post("/api/v1/requests", {"title": title, "terms": terms}), by=f"{agency}.clerk", why=ARTICLE_20, expect=201,
        show=("id", "state_name.zh", "terms_hash", "allowed"),
    )  # fmt: skip
    filed = stage.step(
        Text("审核人审核并提出申请", "The approver files it"),
        post(f"/api/v1/requests/{drafted.text('id')}/file", version=drafted.number("version")), by=f"{agency}.approver",
        why=ARTICLE_20, show=("state_name.zh", "negotiations.0.provider.name.zh", "negotiations.0.state"),
    )  # fmt: skip
    return filed.text("negotiations.0.id")


def _agreement(stage: Stage, by: str, agreement: str) -> str:
    """Show an agreement in force; its id."""
    stage.step(
        Text("共享协议生效：条款与协议各有其散列值", "The agreement is in force: terms and agreement each have their hash"),
        get(f"/api/v1/agreements/{agreement}"), by=by,
        why=Text("809号令第二十二条：自同意之日起二十个工作日内提供", "Decree 809 Art. 22: supply within twenty working days"),
        show=("state_name.zh", "origin_name.zh", "terms_hash", "content_hash", "valid_from", "valid_until"), remark=_consents,
    )  # fmt: skip
    return agreement


def _admit_system(stage: Stage, key: str, title: Text, *, owner: str, agreement: str, purpose: str) -> str:
    """Register a system of `owner`'s agency and get it a grant; who bears the grant on the stage."""
    stage.register_system(key, owner=owner, title=title)
    answer = stage.step(
        Text("系统为这一用途申请授权凭证（5 分钟有效）", "The system asks for a grant for this purpose (five minutes)"),
        post("/api/v1/grants", {"agreement_id": agreement, "purpose": purpose}), by=key, expect=201, why=SUPPLY,
        show=("purpose", "expires_at", "resources.0.url", "resources.0.items"),
    )  # fmt: skip
    return stage.hold_grant(key, answer)


def _served(answer: Answer) -> bool:
    """Whether the gateway has heard of a new agreement yet; it asks the centre every second."""
    return answer.status not in (404, 503)


def _terms(
    resource: str,
    items: tuple[str, ...],
    *,
    scope: str,
    method: str,
    purpose: tuple[str, str, str, str],
    quota: tuple[int, int, int],
    retention_days: int,
) -> dict[str, JsonValue]:
    """Terms for a year from today. `purpose`: code, text, matter, basis; `quota`: calls and rows a day, rows a call."""
    today = legal_date(now())
    code, text, matter, basis = purpose
    calls, rows, per_call = quota
    return {
        "resources": [{"resource_id": resource, "items": [{"code": item} for item in items], "scope": scope}],
        "purposes": [{"code": code, "text": text, "business_matter": matter, "legal_basis": basis}],
        "method": method,
        "valid_from": today.isoformat(),
        "valid_until": (today + timedelta(days=364)).isoformat(),
        "quota": {"calls_per_day": calls, "rows_per_day": rows, "rows_per_call": per_call},
        "retention_days": retention_days,
        "disposal": "到期后三十日内删除并提交销毁证明",
        "security_measures": "政务外网专线传输，存储加密，仅限办理人员按岗位查询",
    }


def _without(
    terms: dict[str, JsonValue], *dropped: str, last_four: str | None = None
) -> dict[str, JsonValue]:
    """The terms without some items, and with the item `last_four` masked but for its last four characters."""
    (part,) = terms["resources"] if isinstance(terms["resources"], list) else []
    assert isinstance(part, dict)
    assert isinstance(part["items"], list)
    kept: list[JsonValue] = []
    for item in part["items"]:
        assert isinstance(item, dict)
        if item["code"] == last_four:
            kept.append({**item, "mask": {"kind": "last_n", "keep": 4}})
        elif item["code"] not in dropped:
            kept.append(item)
    return {**terms, "resources": [{**part, "items": kept}]}
