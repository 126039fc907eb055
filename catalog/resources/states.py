"""The life of a resource (信息资源): who may do what when, as one table.

Pure. Sources: Decree 809 Art. 12-17, 27; Regulation Art. 17. What a record must hold before an act is
`record.check_record`'s.
"""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

DRAFT, FILED, RETURNED = "draft", "filed", "returned"
PUBLISHED, SUSPENDED, WITHDRAWN = "published", "suspended", "withdrawn"

REVIEW = "catalog.review"

_OWNER_CLERK: By = ("owner", Role.CLERK)
_OWNER_APPROVER: By = ("owner", Role.APPROVER)
_AUTHORITY: By = ("authority", Role.CATALOG_ADMINISTRATOR)
_IMPORTER: By = ("importer", None)

STATES = {
    DRAFT: Text("草稿", "draft"),
    FILED: Text("已报送，待审核", "filed"),
    RETURNED: Text("已退回", "returned"),
    PUBLISHED: Text("已发布", "published"),
    SUSPENDED: Text("已暂停", "suspended"),
    WITHDRAWN: Text("已撤销", "withdrawn"),
}

ACTS = {
    "create": Text("编制目录", "write a record"),
    "edit": Text("修改", "edit"),
    "file": Text("报送", "file"),
    "publish": Text("审核发布", "publish"),
    "return": Text("退回", "return with defects"),
    "suspend": Text("暂停", "suspend"),
    "resume": Text("恢复发布", "publish again"),
    "withdraw": Text("撤销", "withdraw"),
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
        Transition(None, "create", (_OWNER_CLERK, _OWNER_APPROVER), DRAFT, "809-12"),
        Transition(None, "import_draft", (_IMPORTER,), DRAFT, "809-12"),
        Transition(None, "import_filed", (_IMPORTER,), FILED, "809-12", REVIEW),
        Transition(None, "import_published", (_IMPORTER,), PUBLISHED, "809-16"),
        Transition(DRAFT, "edit", (_OWNER_CLERK, _OWNER_APPROVER), DRAFT, "809-12"),
        Transition(DRAFT, "file", (_OWNER_APPROVER,), FILED, "809-12", REVIEW),
        Transition(FILED, "publish", (_AUTHORITY,), PUBLISHED, "809-16"),
        Transition(FILED, "return", (_AUTHORITY,), RETURNED, "809-16"),
        Transition(RETURNED, "edit", (_OWNER_CLERK, _OWNER_APPROVER), RETURNED, "809-16"),
        Transition(RETURNED, "file", (_OWNER_APPROVER,), FILED, "809-16", REVIEW),
        Transition(PUBLISHED, "suspend", (_OWNER_APPROVER, _AUTHORITY), SUSPENDED, "809-27"),
        Transition(SUSPENDED, "resume", (_OWNER_APPROVER, _AUTHORITY), PUBLISHED, "809-17"),
        Transition(PUBLISHED, "withdraw", (_OWNER_APPROVER, _AUTHORITY), WITHDRAWN, "809-17"),
        Transition(SUSPENDED, "withdraw", (_OWNER_APPROVER, _AUTHORITY), WITHDRAWN, "809-17"),
        *(
            Transition(state, "import_change", (_IMPORTER,), state, "809-17")
            for state in (DRAFT, FILED, RETURNED, PUBLISHED, SUSPENDED)
        ),
    ],
)
