"""The life of a harvest (目录采集源): another catalog that is fetched on a schedule. Pure."""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

ACTIVE, PAUSED, REMOVED = "active", "paused", "removed"

_OWNER: By = ("owner", Role.CATALOG_ADMINISTRATOR)

STATES = {
    ACTIVE: Text("启用", "active"),
    PAUSED: Text("已暂停", "paused"),
    REMOVED: Text("已移除", "removed"),
}

ACTS = {
    "add": Text("添加", "add"),
    "edit": Text("修改", "edit"),
    "run": Text("立即采集", "fetch now"),
    "pause": Text("暂停", "pause"),
    "resume": Text("恢复", "resume"),
    "remove": Text("移除", "remove"),
}

HARVEST = Machine(
    "harvest",
    states=STATES,
    acts=ACTS,
    rows=[
        Transition(None, "add", (_OWNER,), ACTIVE, "809-31"),
        Transition(ACTIVE, "edit", (_OWNER,), ACTIVE, "809-31"),
        Transition(ACTIVE, "run", (_OWNER,), ACTIVE, "809-31"),
        Transition(ACTIVE, "pause", (_OWNER,), PAUSED, "809-31"),
        Transition(ACTIVE, "remove", (_OWNER,), REMOVED, "809-31"),
        Transition(PAUSED, "edit", (_OWNER,), PAUSED, "809-31"),
        Transition(PAUSED, "resume", (_OWNER,), ACTIVE, "809-31"),
        Transition(PAUSED, "remove", (_OWNER,), REMOVED, "809-31"),
    ],
)
