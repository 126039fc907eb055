"""Push subscription (推送订阅): the requester's client sets it up, its agency pauses and ends it. Pure.

What is delivered under it, and whether, is the agreement's question at every single part.
"""

from __future__ import annotations

from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

ACTIVE, PAUSED, ENDED = "ACTIVE", "PAUSED", "ENDED"

_REQUESTER: By = ("requester", None)  # a client of it that pulls, or its approver

PUSH = Machine(
    "push",
    states={
        ACTIVE: Text("推送中", "active"),
        PAUSED: Text("已暂停", "paused"),
        ENDED: Text("已结束", "ended"),
    },
    acts={
        "subscribe": Text("订阅推送", "subscribe"),
        "pause": Text("暂停推送", "pause"),
        "resume": Text("恢复推送", "resume"),
        "end": Text("结束推送", "end"),
    },
    rows=(
        Transition(None, "subscribe", (_REQUESTER,), ACTIVE, "809-22"),
        Transition(ACTIVE, "pause", (_REQUESTER,), PAUSED, "809-22"),
        Transition(PAUSED, "resume", (_REQUESTER,), ACTIVE, "809-22"),
        Transition(ACTIVE, "end", (_REQUESTER,), ENDED, "809-22"),
        Transition(PAUSED, "end", (_REQUESTER,), ENDED, "809-22"),
    ),
)
