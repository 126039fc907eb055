"""Jurisdictions and agencies: the tree, who is whose authority, and which authority is competent.

Owns registration and the routing of Regulation Art. 21 and Decree 809 Art. 28.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, Uuid, any_, literal, select
from sqlalchemy.orm import Session

from app.identity import codes
from app.identity.models import Agency, Jurisdiction, Person
from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.clock import new_id
from app.kernel.errors import Conflict, Fault, Invalid, NotFound, NotPermitted
from app.kernel.text import Text


class AuthorityStands(Conflict):
    """A jurisdiction has one authority (Regulation Art. 5); it is replaced knowingly or not at all."""

    slug = "authority-stands"
    title = Text("主管部门与所填不符", "The authority is another than was named")
    told = Text(
        "该行政区划现主管部门：{name}；要接替须在 replaces 中写明其标识。",
        "The authority of the jurisdiction is: {name}. To take its place name it in `replaces`.",
    )


def register_jurisdiction(
    session: Session, *, code: str, name: str, name_en: str, parent_code: str | None, by: Actor
) -> Jurisdiction:
    """Add a node to the tree under `parent_code` (None: the root). Errors: Invalid, Conflict."""
    if fault := codes.division_code_fault(code):
        message = Text(f"“{code}”：{fault.zh}", f"“{code}”: {fault.en}")
        raise Invalid(
            faults=[Fault("/code", message, Text("GB/T 2260 行政区划代码", "GB/T 2260, division codes"))]
        )
    if session.scalar(select(Jurisdiction.id).where(Jurisdiction.code == code)):
        raise Conflict(
            Text("行政区划代码 {code} 已登记。", "Jurisdiction {code} is registered.").with_(code=code)
        )
    parent = jurisdiction_by_code(session, parent_code) if parent_code else None
    row = Jurisdiction(
        id=new_id(), code=code, name=name, name_en=name_en,
        level=parent.level + 1 if parent else 0, parent_id=parent.id if parent else None,
    )  # fmt: skip
    row.path = [*(parent.path if parent else []), row.id]
    session.add(row)
    session.flush()
    history.record(
        session, kind="jurisdiction", subject_id=row.id, act="register", by=by, data={"code": code}
    )
    return row


def register_agency(
    session: Session,
    *,
    name: str,
    jurisdiction_id: UUID,
    by: Actor,
    name_en: str | None = None,
    credit_code: str | None = None,
    local_code: str | None = None,
    responsible_leader: str | None = None,
    internal_office: str | None = None,
    verified: bool = True,
    authority: bool = False,
    replaces: UUID | None = None,
) -> Agency:
    """Register an agency; `authority` makes it the authority of its jurisdiction, in place of the one that
    `replaces` names where there is one already.

    A verified agency names its credit code (GB 32100), responsible leader and internal office
    (Regulation Art. 40). Errors: Invalid, Conflict.
    """
    faults: list[Fault] = []
    if verified:
        required = {
            "credit_code": credit_code,
            "responsible_leader": responsible_leader,
            "internal_office": internal_office,
        }
        for field, value in required.items():
            if not value:
                rule = Text("条例第四十条；GB 32100", "Regulation Art. 40; GB 32100")
                faults.append(
                    Fault(f"/{field}", Text("登记单位须填写", "required of a registered agency"), rule)
                )
    if credit_code and (fault := codes.credit_code_fault(credit_code)):
        faults.append(Fault("/credit_code", fault, Text("GB 32100 统一社会信用代码", "GB 32100")))
    if faults:
        raise Invalid(faults=faults)
    taken = select(Agency.id).where(Agency.jurisdiction_id == jurisdiction_id, Agency.name == name)
    if session.scalar(taken) or (
        credit_code and session.scalar(select(Agency.id).where(Agency.credit_code == credit_code))
    ):
        raise Conflict(Text("该单位已登记：{name}", "This agency is registered: {name}").with_(name=name))
    jurisdiction = session.get_one(Jurisdiction, jurisdiction_id, with_for_update=authority)
    if authority and jurisdiction.authority_id != replaces:
        raise AuthorityStands(
            AuthorityStands.told.with_(name=_name_of(session, jurisdiction.authority_id)),
            authority_id=str(jurisdiction.authority_id) if jurisdiction.authority_id else None,
        )
    row = Agency(
        id=new_id(), name=name, name_en=name_en, credit_code=credit_code, local_code=local_code,
        jurisdiction_id=jurisdiction_id, responsible_leader=responsible_leader,
        internal_office=internal_office, verified=verified,
    )  # fmt: skip
    session.add(row)
    session.flush()
    data = {"name": name, "credit_code": credit_code, "verified": verified, "authority": authority}
    if authority:
        jurisdiction.authority_id = row.id
        data |= {"replaces": str(replaces)} if replaces else {}
    history.record(session, kind="agency", subject_id=row.id, act="register", by=by, data=data)
    return row


def _name_of(session: Session, agency_id: UUID | None) -> Text:
    return Text(name, name) if agency_id and (name := agency(session, agency_id).name) else Text("无", "none")


def jurisdiction_by_code(session: Session, code: str) -> Jurisdiction:
    """The jurisdiction with this division code. Errors: NotFound."""
    row = session.scalar(select(Jurisdiction).where(Jurisdiction.code == code))
    if row is None:
        raise NotFound(
            Text("没有登记行政区划 {code}。", "No jurisdiction {code} is registered.").with_(code=code)
        )
    return row


def root_jurisdiction(session: Session) -> Jurisdiction:
    """The top of the tree. Errors: NotFound before `bootstrap`."""
    row = session.scalar(
        select(Jurisdiction).where(Jurisdiction.parent_id.is_(None)).order_by(Jurisdiction.code).limit(1)
    )
    if row is None:
        raise NotFound(Text("尚未初始化（zhengtong bootstrap）。", "Not set up yet (zhengtong bootstrap)."))
    return row


def agency(session: Session, agency_id: UUID) -> Agency:
    """The agency with this id. Errors: NotFound."""
    row = session.get(Agency, agency_id)
    if row is None:
        raise NotFound()
    return row


def find_agency(session: Session, code: str) -> Agency | None:
    """The agency with this credit code, or failing that this local code or exact name."""
    by_code = session.scalar(select(Agency).where(Agency.credit_code == code))
    return by_code or session.scalar(
        select(Agency)
        .where((Agency.local_code == code) | (Agency.name == code))
        .order_by(Agency.created_at)
        .limit(1)
    )


def authority_of(session: Session, jurisdiction_id: UUID) -> Agency:
    """The authority (信息化主管部门) of a jurisdiction, or of the nearest one above that has one. Errors: NotFound."""
    authority = _nearest_authority(session, _path(session, jurisdiction_id))
    if authority is None:
        raise NotFound(Text("上下级均未登记主管部门。", "No authority is registered here or above."))
    return authority


def authority_above(session: Session, authority: Agency) -> Agency | None:
    """The nearest authority of a jurisdiction above that of `authority`; None for the topmost."""
    return _nearest_authority(session, _path(session, authority.jurisdiction_id)[:-1])


def _path(session: Session, jurisdiction_id: UUID) -> Sequence[UUID]:
    return session.scalar(select(Jurisdiction.path).where(Jurisdiction.id == jurisdiction_id)) or ()


def _nearest_authority(session: Session, path: Sequence[UUID]) -> Agency | None:
    query = select(Agency).join(Jurisdiction, Jurisdiction.authority_id == Agency.id)
    return session.scalar(query.where(Jurisdiction.id.in_(path)).order_by(Jurisdiction.level.desc()).limit(1))


def competent_authority(session: Session, requester: Agency, provider: Agency) -> Agency:
    """The authority that decides between two agencies: of the requester's own jurisdiction where both
    belong to it (Regulation Art. 21), else of their lowest common superior (Decree 809 Art. 28)."""
    paths = {
        row.id: row.path
        for row in session.scalars(
            select(Jurisdiction).where(
                Jurisdiction.id.in_([requester.jurisdiction_id, provider.jurisdiction_id])
            )
        )
    }
    common = [
        a
        for a, b in zip(paths[requester.jurisdiction_id], paths[provider.jurisdiction_id], strict=False)
        if a == b
    ]
    if not common:
        raise NotFound(Text("双方没有共同的上级。", "The two have no common superior."))
    return authority_of(session, common[-1])


def is_within(session: Session, jurisdiction_id: UUID, superior_id: UUID) -> bool:
    """Whether a jurisdiction is `superior_id` or lies below it."""
    return superior_id in _path(session, jurisdiction_id)


def require_within(session: Session, actor: Actor, jurisdiction_id: UUID | None) -> None:
    """Errors: NotPermitted where a jurisdiction is not the actor's own or below it."""
    if (
        jurisdiction_id is None
        or actor.jurisdiction_id is None
        or not is_within(session, jurisdiction_id, actor.jurisdiction_id)
    ):
        raise NotPermitted(Text("不在您所属行政区划之内。", "Outside your jurisdiction."))


def agencies_within(actor: Actor) -> Select[UUID]:
    """Query of the agencies in the actor's jurisdiction and in those below."""
    places = select(Jurisdiction.id).where(literal(actor.jurisdiction_id, Uuid) == any_(Jurisdiction.path))
    return select(Agency.id).where(Agency.jurisdiction_id.in_(places))


def require_agency_within(session: Session, actor: Actor, agency_id: UUID) -> None:
    """An agency outside the actor's jurisdiction is answered like one that does not exist. Errors: NotFound."""
    if session.scalar(agencies_within(actor).where(Agency.id == agency_id)) is None:
        raise NotFound()


def person_within(session: Session, actor: Actor, person_id: UUID, *, lock: bool = False) -> Person:
    """The person, if of an agency in the actor's jurisdiction or below. Errors: NotFound."""
    query = select(Person).where(Person.id == person_id, Person.agency_id.in_(agencies_within(actor)))
    person = session.scalar(query.with_for_update() if lock else query)
    if person is None:
        raise NotFound()
    return person
