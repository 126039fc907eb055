"""Data element (数据元): who may propose, register and retire one, and name its authoritative source.

Pure. Source: Decree 809 Art. 19.
"""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

PROPOSED, REGISTERED, RETIRED, DECLINED = "proposed", "registered", "retired", "declined"

_AUTHORITY: tuple[By, ...] = (("authority", Role.CATALOG_ADMINISTRATOR),)
_AGENCY: tuple[By, ...] = (("proposer", Role.CLERK), ("proposer", Role.APPROVER))

ELEMENT = Machine(
    "element",
    states={
        PROPOSED: Text("建议", "proposed"),
        REGISTERED: Text("已登记", "registered"),
        RETIRED: Text("已停用", "retired"),
        DECLINED: Text("未采纳", "declined"),
    },
    acts={
        "propose": Text("提出数据元建议", "propose"),
        "add": Text("登记数据元", "add"),
        "register": Text("采纳建议", "register what was proposed"),
        "decline": Text("不采纳", "decline"),
        "revise": Text("修订", "revise"),
        "name_source": Text("确定数源部门", "name the authoritative source"),
        "retire": Text("停用", "retire"),
    },
    rows=(
        Transition(None, "propose", _AGENCY, PROPOSED, "809-19"),
        Transition(None, "add", _AUTHORITY, REGISTERED, "809-19"),
        Transition(PROPOSED, "register", _AUTHORITY, REGISTERED, "809-19"),
        Transition(PROPOSED, "decline", _AUTHORITY, DECLINED, "809-19"),
        Transition(REGISTERED, "revise", _AUTHORITY, REGISTERED, "809-19"),
        Transition(REGISTERED, "name_source", _AUTHORITY, REGISTERED, "809-19"),
        Transition(REGISTERED, "retire", _AUTHORITY, RETIRED, "809-19"),
    ),
)
