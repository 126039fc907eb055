"""The scenario's last chapter: what happened is in the ledger, and anyone concerned can check it alone.

Proofs are verified in this process with nothing but the log's key; the service is not asked whether they hold.
"""

from __future__ import annotations

import json
from functools import partial

from pydantic import JsonValue

from app.demo.stage import Answer, Stage, StepFailed, get
from app.kernel.checkpoint import LOG, VerifierKey, read_note
from app.kernel.errors import Invalid
from app.kernel.text import Text
from app.witnessing import check_proof
from exchange.terms import Terms, terms_hash

WHY = Text(
    "809号令第二十九条：记录可查；存证账本（RFC 6962）使其不可改",
    "Decree 809 Art. 29: records can be read; the ledger (RFC 6962) keeps them unaltered",
)
VERIFIED = Text("✓ 离线核验通过：{facts}", "✓ verified offline: {facts}")


def check_ledger(stage: Stage, *, agreement: str, by: str, receipt: str) -> None:
    """Prove to `by` that an agreement and a refused call's receipt are in the log. Errors: StepFailed."""
    stage.chapter("五、存证：决定和调用都在账本里", "5. The ledger: every decision and every call is there")
    key = stage.step(
        Text("取账本公钥（实际使用时应从别处取得）", "The log's key (in practice known from elsewhere)"),
        get("/ledger/key"), by=None, why=WHY, show=("verifier_key",),
    )  # fmt: skip
    log = VerifierKey.read(key.text("verifier_key"), LOG)

    def signed_head(answer: Answer) -> Text:
        size, root = read_note(str(answer.body), log)
        return _verified(
            f"{size} 条，根 {root.hex()[:16]}…，签名有效",
            f"{size} entries, root {root.hex()[:16]}…, signature holds",
        )

    stage.step(
        Text("取最新检查点", "The newest checkpoint"), get("/ledger/checkpoint"), by=None, why=WHY, show=("",),
        remark=signed_head,
    )  # fmt: skip
    read = stage.step(
        Text("重算协议条款的散列值", "Take the hash of the agreement's terms again"),
        get(f"/api/v1/agreements/{agreement}"), by=by, why=WHY, show=("terms_hash",), remark=_check_terms,
    )  # fmt: skip
    events = stage.step(
        Text("协议的每一步都是一条账目", "Every step of the agreement is an entry"),
        get(f"/api/v1/agreements/{agreement}/events"), by=by, why=WHY, show=("0.id", "0.act_name.zh", "0.data.terms_hash", "0.data.content_hash"),
    )  # fmt: skip
    if events.at("0.data.terms_hash") != read.at("terms_hash"):
        raise StepFailed(
            Text("账目与协议的条款散列值不同", "The entry attests other terms than the agreement has")
        )
    call = stage.step(
        Text("读被拒绝的那次调用的回执", "The receipt of the refused call"), get(f"/api/v1/receipts/{receipt}"), by=by,
        why=WHY, show=("result", "problem", "agreement_hash"),
    )  # fmt: skip
    for entry, what, content in (
        (events.text("0.id"), Text("协议成立", "the agreement"), events.at("0.content")),
        (receipt, Text("被拒绝的那次调用", "the refused call"), call.at("content")),
    ):
        stage.step(
            Text("取“{what}”的包含证明并核验", "The inclusion proof of {what}, verified").with_(what=what),
            get(f"/api/v1/ledger/entries/{entry}/proof"), by=None, why=WHY,
            show=("kind", "subject_id", "at", "content_sha256", "position"), until=lambda a: a.status == 200,
            remark=partial(_check_proof, entry_id=entry, content=content, log=log),
        )  # fmt: skip


def _check_terms(answer: Answer) -> Text:
    terms = Terms.model_validate_json(json.dumps(answer.at("terms")))
    if terms_hash(terms) != answer.text("terms_hash"):
        raise StepFailed(Text("条款与其散列值不符", "The terms do not have their hash"))
    return _verified("条款与双方同意的散列值一致", "the terms are those that both consented to")


def _check_proof(answer: Answer, entry_id: str, content: JsonValue, log: VerifierKey) -> Text:
    """Signature of the checkpoint, path from the leaf to its root, and that the leaf attests what was told."""
    assert isinstance(answer.body, dict)
    try:
        position, size, _ = check_proof(answer.body, log, (), content)
    except Invalid as problem:
        raise StepFailed(problem.detail) from problem
    if answer.at("entry_id") != entry_id:
        raise StepFailed(Text("证明属于另一条目", "The proof is of another entry"))
    return _verified(
        f"第 {position} 条，内容与所存证的一致，路径到达已签名的根（{size} 条）",
        f"entry {position} attests the content told, and its path leads to the signed root of {size}",
    )


def _verified(zh: str, en: str) -> Text:
    return Text(VERIFIED.zh.format(facts=zh), VERIFIED.en.format(facts=en))
