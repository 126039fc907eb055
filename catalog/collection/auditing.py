"""An audit of what the catalog publishes, whole or since the last one, brought to the audit desk's work-list.

Owns what is examined and how findings are told to the desk. Comparing is `audit`'s, deciding the desk's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.clock import new_id, now
from app.kernel.db import advisory_lock
from app.kernel.text import Text
from catalog.collection import checking, desk
from catalog.collection.audit import Audit, Cluster, ResourcePair, Told, audit, silent
from catalog.collection.audit_tables import Engine
from catalog.collection.audited import AuditedMember, AuditedRecord, Relation
from catalog.collection.models import AuditRun
from catalog.collection.profiles import ItemProfile
from catalog.collection.record import ReasonRecord, item_code_of

_MEMBERS = 500
_RELATIONS: dict[str, Relation] = {"copy": "copy", "subset": "subset", "superset": "subset"}


# In order; each as it is shown to who waits.
STAGES = {
    "reading": Text("读取目录", "reading the catalog"),
    "names": Text("比较名称", "comparing names"),
    "items": Text("逐项比较", "comparing items"),
    "worklist": Text("更新核查清单", "bringing the work-list up to date"),
}


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found, and what became of the work-list. `examined` resources; None: all."""

    run_id: UUID
    audit: Audit
    examined: int | None
    counts: dict[str, int]


def run(session: Session, engine: Engine, *, whole: bool = False, told: Told = silent) -> Report:
    """Audit what changed since the last audit; everything where there was none, or people or a new model have
    changed what is known. `told` hears each of the STAGES as it begins and how far it is. One at a time."""
    advisory_lock(session, "audit.run")
    told("reading")
    known = checking.knowledge(session)
    decisions, snapshot = checking.decisions(session), checking.snapshot(session)
    last = session.scalar(select(AuditRun).order_by(AuditRun.created_at.desc(), AuditRun.id.desc()).limit(1))
    as_before = last is not None and (last.model_version, last.decisions) == (known.model.version, decisions)
    wanted: list[UUID] | None = None
    if last is not None and as_before and not whole:
        wanted = checking.changed_since(session, last.snapshot)
    found = Audit((), (), (), known.model.version)
    if wanted != []:
        asked = None if wanted is None else frozenset(map(str, wanted))
        found = audit(
            checking.published_profiles(session), engine, known,
            wanted=asked, encoder=checking.encoder_of(session), told=told,
        )  # fmt: skip
    told("worklist")
    counts = dict(
        desk.take_in(session, list(_records(found)), model_version=found.model_version, examined=wanted)
    )
    run_id = new_id()
    session.add(
        AuditRun(
            id=run_id, created_at=now(), snapshot=snapshot, decisions=decisions, model_version=found.model_version,
            examined=None if wanted is None else len(wanted), counts=counts,
        )
    )  # fmt: skip
    session.flush()
    return Report(run_id, found, None if wanted is None else len(wanted), counts)


def _records(found: Audit) -> Iterator[AuditedRecord]:
    for cluster in found.clusters:
        yield _element(cluster)
    for pair in found.resources:
        yield _resources(pair)


def _element(cluster: Cluster) -> AuditedRecord:
    """Several agencies' items; the first is proposed as the authoritative source."""
    return AuditedRecord(
        relation="same_element", band="reuse_expected", score=cluster.score,
        members=tuple(_member(item, whole=False) for item in cluster.items[:_MEMBERS]),
        reasons=tuple(ReasonRecord.of(reason) for reason in cluster.reasons),
    )  # fmt: skip


def _resources(pair: ResourcePair) -> AuditedRecord:
    """The part, or the smaller of two copies, stands first."""
    swapped = pair.share_other > pair.share_one
    first, second = (pair.other, pair.one) if swapped else (pair.one, pair.other)
    contained = max(pair.share_one, pair.share_other)
    return AuditedRecord(
        relation=_RELATIONS[pair.kind], band="review", score=min(contained, 1.0), containment=min(contained, 1.0),
        members=(_member(first, whole=True), _member(second, whole=True)),
    )  # fmt: skip


def _member(item: ItemProfile, *, whole: bool) -> AuditedMember:
    return AuditedMember(
        resource_id=UUID(item.resource_id), resource_title=item.resource_title, agency_id=UUID(item.agency_id),
        agency_name=item.agency_name, item_code=None if whole else item_code_of(item.id),
        item_name=None if whole else item.name,
    )  # fmt: skip
