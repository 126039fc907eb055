"""A gateway's standing: registered by whoever runs it, exchanging only once the authority has reviewed it.

Pure. Source: Regulation Art. 29 (review before joining), Art. 34 (incidents).
"""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

REGISTERED, APPROVED, RETURNED = "registered", "approved", "returned"
SUSPENDED, WITHDRAWN = "suspended", "withdrawn"

REVIEW, INCIDENT = "REG-29", "REG-34"
_OWNER: tuple[By, ...] = (("owner", Role.CLERK), ("owner", Role.CATALOG_ADMINISTRATOR))
_AUTHORITY: tuple[By, ...] = (("authority", Role.SECURITY_ADMINISTRATOR),)
_SYSTEM: By = ("system", None)  # the centre's own gateway, which starts and ends with the centre

GATEWAY = Machine(
    "gateway",
    states={
        REGISTERED: Text("待审核", "waits for review"),
        APPROVED: Text("已核准", "approved"),
        RETURNED: Text("已退回", "returned"),
        SUSPENDED: Text("已暂停", "suspended"),
        WITHDRAWN: Text("已注销", "withdrawn"),
    },
    acts={
        "register": Text("登记", "register"),
        "amend": Text("变更登记", "change what is registered"),
        "approve": Text("核准接入", "approve"),
        "return": Text("退回", "return"),
        "report_incident": Text("报告安全事件", "report an incident"),
        "suspend": Text("暂停接入", "suspend"),
        "resume": Text("恢复接入", "resume"),
        "withdraw": Text("注销", "withdraw"),
    },
    rows=(
        Transition(None, "register", (*_OWNER, _SYSTEM), REGISTERED, REVIEW),
        # Another address is another system: it is reviewed anew and exchanges nothing until then.
        *(
            Transition(state, "amend", (*_OWNER, _SYSTEM), REGISTERED, REVIEW)
            for state in (REGISTERED, RETURNED, APPROVED)
        ),
        Transition(REGISTERED, "approve", (*_AUTHORITY, _SYSTEM), APPROVED, REVIEW),
        Transition(REGISTERED, "return", _AUTHORITY, RETURNED, REVIEW),
        Transition(APPROVED, "report_incident", _OWNER, SUSPENDED, INCIDENT),
        Transition(APPROVED, "suspend", _AUTHORITY, SUSPENDED, INCIDENT),
        Transition(SUSPENDED, "resume", _AUTHORITY, APPROVED, INCIDENT),
        *(
            Transition(state, "withdraw", _OWNER, WITHDRAWN, REVIEW)
            for state in (REGISTERED, APPROVED, RETURNED, SUSPENDED)
        ),
    ),
)
