"""The life of a resource (信息资源), of the working copy of a published one, and of a defect: who may do what
when, as three tables.

Pure. Sources: Decree 809 Art. 12-17, 27; Regulation Art. 17. What a record must hold before an act is
`record.check_record`'s.
"""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

DRAFT, FILED, RETURNED = "draft", "filed", "returned"
PUBLISHED, SUSPENDED, WITHDRAWN = "published", "suspended", "withdrawn"
ADOPTED, DISCARDED = "adopted", "discarded"
OPEN, ANSWERED, FIXED, DROPPED = "open", "answered", "fixed", "dropped"

REVIEW = "catalog.review"
UPDATE = "catalog.update"

_OWNER_CLERK: By = ("owner", Role.CLERK)
_OWNER_APPROVER: By = ("owner", Role.APPROVER)
_AUTHORITY: By = ("authority", Role.CATALOG_ADMINISTRATOR)
_IMPORTER: By = ("importer", None)
_REVISION: By = ("revision", None)
_OWNER = (_OWNER_CLERK, _OWNER_APPROVER)
_OUT_OF_USE = (_OWNER_APPROVER, _AUTHORITY)

STATES = {
    DRAFT: Text("草稿", "draft"),
    FILED: Text("已报送，待审核", "filed"),
    RETURNED: Text("已退回", "returned"),
    PUBLISHED: Text("已发布", "published"),
    SUSPENDED: Text("已暂停", "suspended"),
    WITHDRAWN: Text("已撤销", "withdrawn"),
}
LISTED = (PUBLISHED, SUSPENDED)

ACTS = {
    "create": Text("编制目录", "write a record"),
    "edit": Text("修改", "edit"),
    "file": Text("报送", "file"),
    "publish": Text("审核发布", "publish"),
    "return": Text("退回", "return with defects"),
    "suspend": Text("暂停", "suspend"),
    "resume": Text("恢复发布", "publish again"),
    "withdraw": Text("撤销", "withdraw"),
    "revise": Text("更新发布", "publish what was revised"),
    "note_change": Text("登记法律或职责变化", "note a change of law or duty"),
    "ask_extension": Text("申请延长更新期限", "ask for more time to update"),
    "extend": Text("同意延长", "grant more time"),
    "refuse_extension": Text("不同意延长", "refuse more time"),
    "import_draft": Text("导入为草稿", "import as draft"),
    "import_filed": Text("导入并报送", "import as filed"),
    "import_published": Text("导入并发布", "import as published"),
    "import_change": Text("按来源目录更新", "change as the source catalog did"),
}

RESOURCE = Machine(
    "resource",
    states=STATES,
    acts=ACTS,
    rows=[
        Transition(None, "create", _OWNER, DRAFT, "809-12"),
        Transition(None, "import_draft", (_IMPORTER,), DRAFT, "809-12"),
        Transition(None, "import_filed", (_IMPORTER,), FILED, "809-12", REVIEW),
        Transition(None, "import_published", (_IMPORTER,), PUBLISHED, "809-16"),
        Transition(DRAFT, "edit", _OWNER, DRAFT, "809-12"),
        Transition(DRAFT, "file", (_OWNER_APPROVER,), FILED, "809-12", REVIEW),
        Transition(FILED, "publish", (_AUTHORITY,), PUBLISHED, "809-16"),
        Transition(FILED, "return", (_AUTHORITY,), RETURNED, "809-16"),
        Transition(RETURNED, "edit", _OWNER, RETURNED, "809-16"),
        Transition(RETURNED, "file", (_OWNER_APPROVER,), FILED, "809-16", REVIEW),
        Transition(PUBLISHED, "suspend", _OUT_OF_USE, SUSPENDED, "809-27"),
        Transition(SUSPENDED, "resume", _OUT_OF_USE, PUBLISHED, "809-17"),
        *(Transition(state, "withdraw", _OUT_OF_USE, WITHDRAWN, "809-17, 809-27") for state in LISTED),
        *(Transition(state, "revise", (_REVISION,), state, "809-17") for state in LISTED),
        *(Transition(state, "note_change", (*_OWNER, _AUTHORITY), state, "809-17", UPDATE) for state in LISTED),
        *(Transition(state, "ask_extension", (_OWNER_APPROVER,), state, "809-17") for state in LISTED),
        *(
            Transition(state, act, (_AUTHORITY,), state, "809-17")
            for state in LISTED
            for act in ("extend", "refuse_extension")
        ),
        *(
            Transition(state, "import_change", (_IMPORTER,), state, "809-17")
            for state in (DRAFT, FILED, RETURNED, PUBLISHED, SUSPENDED)
        ),
    ],
)  # fmt: skip

# A published record changes only through its working copy, which is reviewed as a new record is.
REVISION = Machine(
    "revision",
    states={
        DRAFT: Text("修订中", "being revised"),
        FILED: Text("已报送，待审核", "filed"),
        RETURNED: Text("已退回", "returned"),
        ADOPTED: Text("已发布", "published"),
        DISCARDED: Text("已放弃", "discarded"),
    },
    acts={
        "open": Text("开始修订", "begin to revise"),
        "edit": Text("修改", "edit"),
        "file": Text("报送", "file"),
        "publish": Text("审核发布", "publish"),
        "return": Text("退回", "return with defects"),
        "discard": Text("放弃修订", "discard"),
    },
    rows=[
        Transition(None, "open", _OWNER, DRAFT, "809-17"),
        Transition(FILED, "publish", (_AUTHORITY,), ADOPTED, "809-17"),
        Transition(FILED, "return", (_AUTHORITY,), RETURNED, "809-17"),
        *(
            row
            for state in (DRAFT, RETURNED)
            for row in (
                Transition(state, "edit", _OWNER, state, "809-17"),
                Transition(state, "file", (_OWNER_APPROVER,), FILED, "809-12, 809-17", REVIEW),
                Transition(state, "discard", _OWNER, DISCARDED, "809-17"),
            )
        ),
    ],
)
OPEN_REVISION = (DRAFT, FILED, RETURNED)

# Each defect that a return names is its own thread: answered by the agency, confirmed or opened again by the
# authority, until it is fixed.
DEFECT = Machine(
    "defect",
    states={
        OPEN: Text("待整改", "to be mended"),
        ANSWERED: Text("已答复，待确认", "answered"),
        FIXED: Text("已整改", "fixed"),
        DROPPED: Text("已撤回", "dropped"),
    },
    acts={
        "raise": Text("提出问题", "raise"),
        "answer": Text("答复整改情况", "answer"),
        "confirm": Text("确认已整改", "confirm that it is fixed"),
        "reopen": Text("未整改到位", "open it again"),
        "drop": Text("撤回问题", "drop"),
    },
    rows=[
        Transition(None, "raise", (_AUTHORITY,), OPEN, "809-16"),
        Transition(OPEN, "answer", _OWNER, ANSWERED, "809-16"),
        Transition(ANSWERED, "confirm", (_AUTHORITY,), FIXED, "809-16"),
        Transition(ANSWERED, "reopen", (_AUTHORITY,), OPEN, "809-16"),
        Transition(OPEN, "drop", (_AUTHORITY,), DROPPED, "809-16"),
        Transition(ANSWERED, "drop", (_AUTHORITY,), DROPPED, "809-16"),
    ],
)


def defect_hindrance(act: str, case_state: str) -> Text | None:
    """Why the moment does not allow an act on a thread of a record in `case_state`, or None."""
    if act == "answer" and case_state != RETURNED:
        return Text("目录退回后才能答复。", "A thread is answered while the record is returned.")
    if act in ("confirm", "reopen") and case_state != FILED:
        return Text(
            "重新报送后才能确认或重新提出。", "A thread is decided on once the record is filed again."
        )
    return None
