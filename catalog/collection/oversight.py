"""What the authority sees of duplicate collection: figures by agency, who does it again, what was accepted before,
who should be the authoritative source.

Reads only. Source: Regulation Art. 38-40 (inspection of collection), 46(1); Decree 809 Art. 19.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.calendar import BEIJING
from app.kernel.history import Event
from app.kernel.text import Text
from catalog.collection import desk
from catalog.collection.audited import AuditedMember
from catalog.collection.models import AuditFinding, Finding, Plan
from catalog.collection.record import Burden, burden_of
from catalog.collection.service import visible_to
from catalog.collection.states import CONFIRMED, DRAFT, FINDING, STRUCK, UNDECIDED
from catalog.resources.models import Item, Resource
from catalog.resources.states import PUBLISHED
from catalog.text import fold

REPEATED = 2  # upheld findings in the period from which an agency counts as a repeat offender (屡次重复采集)


@dataclass(slots=True)
class AgencyFigures:
    """Duplicate collection of one agency in a period. `upheld` counts findings upheld at least once; the burden
    is what people were spared by items that are not collected."""

    agency_id: UUID
    plans: int = 0
    items: int = 0
    findings: int = 0
    withdrawn: int = 0
    shared_instead: int = 0
    accepted: int = 0
    upheld: int = 0
    noticed: int = 0
    open: int = 0
    burden_avoided: Burden = field(default_factory=Burden)

    @property
    def repeats(self) -> bool:
        return self.upheld >= REPEATED


def figures(session: Session, *, by: Actor, since: date, until: date) -> list[AgencyFigures]:
    """Figures of every agency whose plans the actor may know of and that filed one in these days, most upheld
    first. Acts count in the period of the plan they belong to."""
    begins, ends = (datetime.combine(day, time(), BEIJING) for day in (since, until + timedelta(days=1)))
    filed = (
        select(Event.subject_id).where(Event.kind == "plan", Event.act == "file", Event.at >= begins, Event.at < ends)
    )  # fmt: skip
    plans = list(session.scalars(select(Plan).where(visible_to(by), Plan.state != DRAFT, Plan.id.in_(filed))))
    standing: dict[UUID, list[Finding]] = defaultdict(list)
    for finding in session.scalars(select(Finding).where(Finding.plan_id.in_(plan.id for plan in plans))):
        standing[finding.plan_id].append(finding)
    upheld_once = select(Event.subject_id).where(
        Event.kind == FINDING.kind,
        Event.act == "uphold",
        Event.subject_id.in_(f.id for found in standing.values() for f in found),
    )
    upheld = set(session.scalars(upheld_once))
    told: dict[UUID, AgencyFigures] = {}
    for plan in plans:
        _add(told.setdefault(plan.agency_id, AgencyFigures(plan.agency_id)), plan, standing[plan.id], upheld)
    return sorted(told.values(), key=lambda row: (-row.upheld, -row.findings, row.agency_id))


def _add(row: AgencyFigures, plan: Plan, found: Sequence[Finding], upheld: set[UUID]) -> None:
    record = plan.typed
    row.plans += 1
    row.items += len(record.items)
    row.findings += len(found)
    for finding in found:
        row.withdrawn += finding.state == "withdrawn"
        row.shared_instead += finding.state == "shared_instead"
        row.accepted += finding.state == "accepted"
        row.noticed += finding.state == "noticed"
        row.open += finding.blocks
        row.upheld += finding.id in upheld
    spared = burden_of(record, sum(finding.state in STRUCK for finding in found))
    row.burden_avoided = Burden(
        people=row.burden_avoided.people + spared.people, minutes=row.burden_avoided.minutes + spared.minutes
    )


# --- Precedents


def precedents(
    session: Session,
    *,
    by: Actor,
    text: str | None = None,
    ground: str | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[tuple[Finding, Plan]]:
    """Accepted justifications (先例), newest first; `text` stands in the item's name, the item it was held to be,
    the justification or the decision. Those whose day has passed stay to be found."""
    query = (
        select(Finding, Plan)
        .join(Plan, Plan.id == Finding.plan_id)
        .where(visible_to(by), Finding.accepted_until.is_not(None))
    )
    if text:
        held = Finding.candidates[0]["item_name"].astext
        places = (Finding.item["name"].astext, held, Finding.justification, Finding.decision)
        query = query.where(or_(*(place.icontains(text, autoescape=True) for place in places)))
    if ground is not None:
        query = query.where(Finding.ground == ground)
    if before is not None:
        query = query.where(Finding.id < before)
    return [(f, p) for f, p in session.execute(query.order_by(Finding.id.desc()).limit(limit))]


# --- Authoritative sources (数源部门)


@dataclass(frozen=True, slots=True)
class Standing:
    """What speaks for one holder of an element as its authoritative source."""

    member: AuditedMember
    score: int
    reasons: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Holders of one element, the proposed authoritative source first. It is for people to decide."""

    finding: AuditFinding
    holders: tuple[Standing, ...]


# What speaks for a holder, and how much: the base libraries serve everybody (Regulation Art. 18).
_BASE_LIBRARY = 4, Text("出自基础数据库", "stands in a base library")
_KEY = 2, Text("在该资源中是主键", "is the key of its resource")
_FRESH = 2, Text("更新最勤", "is updated most often")
_SHARED = 1, Text("可以共享", "is shared")
_MOST = 1, Text("持有该信息项的资源最多", "holds it in the most resources")
_FRESHNESS = ("real_time", "daily", "weekly", "ten_days", "monthly", "quarterly", "half_yearly", "yearly")


def proposals(
    session: Session, *, by: Actor, after: tuple[float, UUID] | None = None, limit: int = 50
) -> list[Proposal]:
    """For each element that an audit found with several agencies, and nobody dismissed: who should be its
    authoritative source (Decree 809 Art. 19), the surest findings first."""
    query = select(AuditFinding).where(
        desk.visible_to(by),
        AuditFinding.relation == "same_element",
        AuditFinding.state.in_((*UNDECIDED, CONFIRMED)),
    )
    if after is not None:
        query = query.where(desk.follows(after))
    found = list(session.scalars(query.order_by(*desk.SUREST_FIRST).limit(limit)))
    held = {member.resource_id for finding in found for member in finding.typed.members}
    rows = session.execute(
        select(
            Item.resource_id, Item.code, Item.is_key, Resource.base_library, Resource.update_cycle,
            func.coalesce(Item.sharing_type, Resource.sharing_type).label("sharing"),
        )
        .join(Resource, Resource.id == Item.resource_id)
        .where(Item.resource_id.in_(held), Resource.state == PUBLISHED)
    )  # fmt: skip
    facts = {
        (row.resource_id, row.code): Facts(row.is_key, row.base_library, row.update_cycle, row.sharing)
        for row in rows
    }
    return [Proposal(finding, rank(finding.typed.members, facts)) for finding in found]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the catalog says now of one holder's item."""

    is_key: bool = False
    base_library: str | None = None
    update_cycle: str | None = None
    sharing: str | None = None


def rank(members: Iterable[AuditedMember], facts: dict[tuple[UUID, str], Facts]) -> tuple[Standing, ...]:
    """Holders that still stand in the catalog, best first; what speaks for each is told in words."""
    there = [(member, facts.get((member.resource_id, member.item_code or ""))) for member in members]
    held = [(member, fact) for member, fact in there if fact is not None]
    often = {
        cycle: _FRESHNESS.index(cycle) for _, fact in held if (cycle := fact.update_cycle or "") in _FRESHNESS
    }
    freshest = min(often.values(), default=None)
    resources = Counter(member.agency_id for member, _ in held)
    most = max(resources.values(), default=0)

    def standing(member: AuditedMember, fact: Facts) -> Standing:
        speaking = [
            (fact.base_library is not None, _BASE_LIBRARY),
            (fact.is_key, _KEY),
            (freshest is not None and often.get(fact.update_cycle or "") == freshest, _FRESH),
            (fact.sharing in ("unconditional", "conditional"), _SHARED),
            (most > 1 and resources[member.agency_id] == most, _MOST),
        ]
        reasons = [worth for holds, worth in speaking if holds]
        return Standing(member, sum(points for points, _ in reasons), tuple(text for _, text in reasons))

    ranked = [standing(member, fact) for member, fact in held]
    return tuple(
        sorted(ranked, key=lambda s: (-s.score, fold(s.member.agency_name), str(s.member.resource_id)))
    )
