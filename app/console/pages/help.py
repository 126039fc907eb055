"""How cases move: each machine drawn and told from the same table that enforces it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from app.console import charts
from app.console.view import View, looking
from app.identity.permissions import permit
from app.kernel.actor import ROLE_NAMES
from app.kernel.errors import NotFound
from app.kernel.text import Text
from catalog.collection.states import AUDIT_FINDING, CATALOG_AUDIT, FINDING, PLAN
from catalog.imports.states import IMPORT
from catalog.resources.states import DEFECT, RESOURCE, REVISION
from exchange.agreements.states import AGREEMENT
from exchange.corrections.states import CORRECTION
from exchange.delivery.states import GATEWAY
from exchange.disputes.states import DISPUTE
from exchange.negotiations.states import NEGOTIATION
from exchange.policies.states import POLICY
from exchange.requests.states import REQUEST

router = APIRouter(include_in_schema=False)
permit("console.help", "console.help_machine", anonymous=True)

MACHINES = {
    machine.kind: (machine, name)
    for machine, name in (
        (REQUEST, Text("共享申请", "Share request")),
        (NEGOTIATION, Text("协商", "Negotiation")),
        (AGREEMENT, Text("共享协议", "Agreement")),
        (DISPUTE, Text("争议", "Dispute")),
        (CORRECTION, Text("数据校核", "Correction")),
        (POLICY, Text("自动同意规则", "Sharing policy")),
        (RESOURCE, Text("目录", "Resource")),
        (REVISION, Text("目录修订", "Working copy")),
        (DEFECT, Text("审核问题", "Defect")),
        (PLAN, Text("采集计划", "Collection plan")),
        (FINDING, Text("重复采集", "Finding")),
        (CATALOG_AUDIT, Text("全目录审计", "Audit of the catalog")),
        (AUDIT_FINDING, Text("审计发现的重复", "Audit finding")),
        (IMPORT, Text("批量导入", "Import")),
        (GATEWAY, Text("网关", "Gateway")),
    )
}


@router.get("/help", operation_id="console.help")
def help_page(view: Annotated[View, looking("console.help")]) -> Response:
    """The kinds of case there are."""
    return view.page("help/list.html", machines={kind: name for kind, (_, name) in MACHINES.items()})


@router.get("/help/{kind}", operation_id="console.help_machine")
def machine_page(view: Annotated[View, looking("console.help_machine")], kind: str) -> Response:
    """One machine: its picture and its table. Errors: NotFound."""
    if kind not in MACHINES:
        raise NotFound()
    machine, name = MACHINES[kind]
    return view.page(
        "help/machine.html",
        machine=machine,
        name=name,
        picture=charts.states(machine, view.locale),
        role_names=ROLE_NAMES,
    )
