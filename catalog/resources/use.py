"""Who uses a resource: what the exchange tells the catalog, which never asks it by name.

Owns the question. Refuses to answer while nobody has said where the answer comes from: without it an agreed
supply could be taken away unseen (809-27).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel.errors import WrongMoment
from app.kernel.text import Text


@dataclass(frozen=True, slots=True)
class Use:
    """What depends on a resource now. `items` are the codes that agreements in force or suspended name."""

    agreements: int = 0
    requesters: tuple[UUID, ...] = ()  # agencies, each once
    items: frozenset[str] = frozenset()
    open_corrections: int = 0
    delivered_at: datetime | None = None  # the last completed delivery


UseOf = Callable[[Session, Collection[UUID]], Mapping[UUID, Use]]
_told_by: list[UseOf] = []


def told_by(source: UseOf) -> None:
    """Let `source` answer from now on; it leaves out resources that nobody uses."""
    _told_by[:] = [source]


def use_of(session: Session, resource_ids: Collection[UUID]) -> dict[UUID, Use]:
    """The use of each of these resources."""
    if not _told_by:
        raise AssertionError("nobody has said who uses resources")
    known = _told_by[0](session, resource_ids)
    return {resource_id: known.get(resource_id, Use()) for resource_id in resource_ids}


class ResourceInUse(WrongMoment):
    """有生效的共享协议: supply is not ended by taking the resource away; first comes the procedure of 809-27."""

    slug = "resource-in-use"
    title = Text("该资源有生效的共享协议", "Agreements on this resource are in force")


def require_unused(session: Session, resource_id: UUID) -> None:
    """Errors: ResourceInUse, with how many agreements are in force or suspended."""
    count = use_of(session, [resource_id])[resource_id].agreements
    if count:
        message = Text(
            "该资源有 {n} 份未终止的共享协议。须先与需求方协商停止提供，并向主管部门报备理由（协议的“提出停止提供”），"
            "协议终止后方可撤销。",
            "{n} agreements on this resource have not ended. First negotiate the end of supply with the requesters "
            "and file the reason with the authority (announce_end on each agreement); then withdraw it.",
        )
        raise ResourceInUse(message.with_(n=count), basis="809-27", agreements=count)
