"""The life of an import (目录导入): sent, rehearsed, looked at by a person, brought in.

Pure. Nothing comes into the catalog that was not rehearsed and then committed.
"""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

RECEIVED, PREVIEWED, COMMITTING = "received", "previewed", "committing"
FINISHED, REFUSED, CANCELLED = "finished", "refused", "cancelled"

_OWNER: By = ("owner", Role.CATALOG_ADMINISTRATOR)
_SIGNER: By = ("owner", Role.APPROVER)
_HARVESTER: By = ("harvester", None)
_WORKER: By = ("worker", None)

STATES = {
    RECEIVED: Text("已接收，正在预演", "received, being rehearsed"),
    PREVIEWED: Text("已预演，待确认", "rehearsed, to be confirmed"),
    COMMITTING: Text("正在写入", "being brought in"),
    FINISHED: Text("已完成", "finished"),
    REFUSED: Text("无法导入", "refused"),
    CANCELLED: Text("已取消", "cancelled"),
}

ACTS = {
    "submit": Text("提交文件", "send a file"),
    "preview": Text("预演完成", "rehearse"),
    "commit": Text("确认写入", "confirm"),
    "file": Text("签署并报送", "sign and file"),
    "finish": Text("写入完成", "bring in"),
    "refuse": Text("拒绝文件", "refuse the file"),
    "cancel": Text("取消", "cancel"),
}

IMPORT = Machine(
    "import",
    states=STATES,
    acts=ACTS,
    rows=[
        Transition(None, "submit", (_OWNER, _HARVESTER), RECEIVED, "809-12"),
        Transition(RECEIVED, "preview", (_WORKER,), PREVIEWED, "809-12"),
        Transition(RECEIVED, "refuse", (_WORKER,), REFUSED, "809-12"),
        Transition(RECEIVED, "cancel", (_OWNER,), CANCELLED, "809-12"),
        Transition(PREVIEWED, "commit", (_OWNER, _HARVESTER), COMMITTING, "809-17"),
        Transition(PREVIEWED, "file", (_SIGNER,), COMMITTING, "809-12"),
        Transition(PREVIEWED, "cancel", (_OWNER,), CANCELLED, "809-12"),
        Transition(COMMITTING, "finish", (_WORKER,), FINISHED, "809-17"),
        Transition(COMMITTING, "refuse", (_WORKER,), REFUSED, "809-12"),
    ],
)
