"""Agreement (共享协议): who may suspend, resume and end it, as a table.

Pure. Its terms never change; what ends here ends for good. Source: Decree 809 Art. 20, 22, 27; Civil Code Art. 98.
"""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

IN_FORCE, SUSPENDED, EXPIRED = "IN_FORCE", "SUSPENDED", "EXPIRED"
COMPLETED, TERMINATED, SUPERSEDED = "COMPLETED", "TERMINATED", "SUPERSEDED"
LIVE = (IN_FORCE, SUSPENDED)
ENDED = (EXPIRED, COMPLETED, TERMINATED)  # what was shared has to be disposed of

SUPPLY = "agreement.supply"
DISPOSAL = "agreement.disposal"

_REQUESTER: By = ("requester", Role.APPROVER)
_PROVIDER: By = ("provider", Role.APPROVER)
_AUTHORITY: By = ("authority", Role.MEDIATOR)
_CLOCK: By = ("clock", None)
_RULING: By = ("ruling", None)
_SYSTEM: By = ("system", None)

STATES = {
    IN_FORCE: Text("生效", "in force"),
    SUSPENDED: Text("暂停", "suspended"),
    EXPIRED: Text("到期", "expired"),
    COMPLETED: Text("用途完成", "completed"),
    TERMINATED: Text("终止", "terminated"),
    SUPERSEDED: Text("已由新版本取代", "superseded"),
}

ACTS = {
    "conclude": Text("订立", "conclude"),
    "suspend": Text("暂停共享", "suspend"),
    "resume": Text("恢复共享", "resume"),
    "announce_end": Text("提出停止提供并报备理由", "propose to stop supply, filing the reason"),
    "agree_end": Text("同意停止提供", "agree to the end"),
    "terminate": Text("责令终止", "terminate"),
    "complete": Text("用途完成", "complete"),
    "expire": Text("到期", "expire"),
    "transfer": Text("移交继任单位", "pass to the successor"),
    "supersede": Text("由新版本取代", "superseded by the next version"),
    "mark_overdue": Text("标记提供逾期", "mark the supply overdue"),
    "remind_renewal": Text("提醒续期", "remind of the renewal"),
    "certify_disposal": Text("出具处置证明", "certify the disposal"),
    "mark_disposal_overdue": Text("标记处置逾期", "mark the disposal overdue"),
}

# A provider cannot end supply by itself: it files its reason (announce_end), and either the requester
# agrees or the authority, with the reason before it, terminates (Decree 809 Art. 27).
ROWS = (
    Transition(None, "conclude", (_SYSTEM, _RULING), IN_FORCE, "809-20", SUPPLY),
    Transition(IN_FORCE, "suspend", (_PROVIDER, _AUTHORITY, _RULING), SUSPENDED, "809-27"),
    Transition(SUSPENDED, "resume", (_PROVIDER, _AUTHORITY, _RULING), IN_FORCE, "809-27"),
    Transition(IN_FORCE, "mark_overdue", (_CLOCK,), IN_FORCE, "809-22"),
    *(Transition(state, "announce_end", (_PROVIDER,), state, "809-27") for state in LIVE),
    *(Transition(state, "agree_end", (_REQUESTER,), TERMINATED, "809-27") for state in LIVE),
    *(Transition(state, "terminate", (_AUTHORITY, _RULING), TERMINATED, "809-27") for state in LIVE),
    *(Transition(state, "complete", (_REQUESTER,), COMPLETED, "809-27") for state in LIVE),
    *(Transition(state, "expire", (_CLOCK,), EXPIRED, "809-20") for state in LIVE),
    *(Transition(state, "remind_renewal", (_CLOCK,), state, "809-20") for state in LIVE),
    *(Transition(state, "certify_disposal", (_REQUESTER,), state, "809-27") for state in ENDED),
    *(Transition(state, "mark_disposal_overdue", (_CLOCK,), state, "809-27") for state in ENDED),
    *(Transition(state, "supersede", (_SYSTEM,), SUPERSEDED, "809-20") for state in LIVE),
    *(Transition(state, "transfer", (_AUTHORITY,), SUPERSEDED, "CIV-98") for state in LIVE),
)

DATA_CORRECTED = "data_corrected"
DORMANT_USE, SUDDEN_BULK, PROBING, SCANNING = "dormant_use", "sudden_bulk", "probing", "scanning"
# What the history tells beside acts; the unusual in use is found by `exchange.delivery.anomalies`.
NOTES = {
    DATA_CORRECTED: Text("提供方更正了数据", "the provider corrected its data"),
    DORMANT_USE: Text("异常：长期未用后突然调用", "unusual: used again after a long silence"),
    SUDDEN_BULK: Text("异常：当日用量远超平常", "unusual: far more records today than on other days"),
    PROBING: Text("异常：一小时内多次被拒", "unusual: refused many times within an hour"),
    SCANNING: Text(
        "异常：连续取满，疑似遍历", "unusual: call after call takes all it can, as if to copy everything"
    ),
}

AGREEMENT = Machine("agreement", states=STATES, acts=ACTS, rows=ROWS)

ORIGINS = {
    "negotiated": Text("协商一致", "negotiated"),
    "policy": Text("无条件共享", "by policy"),
    "ruling": Text("裁决", "by ruling"),
}
