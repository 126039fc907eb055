"""The audit desk: what an audit found is assigned, decided, remembered, and gone when it is gone."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.identity import agencies
from app.kernel.clock import new_id
from app.kernel.errors import Invalid, NotFound, NotPermitted
from catalog.collection import desk, links
from catalog.collection.audited import AuditedMember, AuditedRecord, Relation
from catalog.collection.models import AuditFinding
from tests.catalog.bureau import APPROVER, CATALOG, CLERK, MEDIATOR
from tests.factories import OPERATOR, Town

BIRTHS, FAMILIES, HOMES = new_id(), new_id(), new_id()


def audited(town: Town, *items: tuple[str, UUID, str], relation: Relation = "same_element") -> AuditedRecord:
    """Held by (agency, resource, item)."""
    members = tuple(
        AuditedMember(
            resource_id=resource, resource_title=f"{item}登记", agency_id=town.id(agency), agency_name=agency,
            item_code=None if relation != "same_element" else "code",
            item_name=None if relation != "same_element" else item,
        )
        for agency, resource, item in items
    )  # fmt: skip
    return AuditedRecord(relation=relation, band="review", score=0.8, members=members)


def stand(session: Session) -> dict[str, str]:
    return {row.key: row.state for row in session.scalars(select(AuditFinding))}


def test_an_audit_brings_the_list_up_to_date_and_leaves_decisions(session: Session, town: Town) -> None:
    birth = audited(town, ("civil", BIRTHS, "出生日期"), ("health", FAMILIES, "出生年月"))
    house = audited(town, ("civil", HOMES, "户籍地址"), ("market", FAMILIES, "住址"))
    copy = audited(town, ("civil", BIRTHS, "甲"), ("market", HOMES, "乙"), relation="copy")

    def found(*records: AuditedRecord, examined: set[UUID] | None = None) -> tuple[int, ...]:
        counts = desk.take_in(session, records, model_version="1", examined=examined)
        return tuple(counts[name] for name in ("new", "known", "found_again", "gone"))

    assert found(birth, house, copy) == (3, 0, 0, 0)
    assert found(birth, house, copy) == (0, 3, 0, 0)
    row = session.scalars(select(AuditFinding).where(AuditFinding.key == birth.key)).one()
    by = town.actor("city_authority", CATALOG)
    desk.confirm(session, row, reason="同一数据元", by=by, version=row.version)
    assert found(examined={HOMES}) == (0, 0, 0, 2)
    assert stand(session) == {birth.key: "confirmed", house.key: "gone", copy.key: "gone"}
    assert found(birth, house) == (0, 1, 1, 0)
    assert stand(session) == {birth.key: "confirmed", house.key: "open", copy.key: "gone"}
    (link,) = links.decided(session)
    assert (link.left_name, link.right_name, link.verdict) == ("出生日期", "出生年月", "same")
    assert (link.right_topic, link.source_id, link.agency_id) == ("出生年月登记", row.id, by.agency_id)
    with pytest.raises(DBAPIError, match="never changed"), session.begin_nested():
        session.execute(text("UPDATE item_link SET verdict = 'different'"))


def test_who_may_know_assign_and_decide(session: Session, town: Town) -> None:
    desk.take_in(
        session, [audited(town, ("civil", BIRTHS, "甲"), ("health", HOMES, "乙"))], model_version="1"
    )
    (row,) = session.scalars(select(AuditFinding))
    city = town.actor("city_authority", CATALOG)
    mediator, clerk = town.person("city_authority", MEDIATOR), town.person("city_authority", CLERK)
    for agency in ("civil", "east_authority"):
        with pytest.raises(NotFound):
            desk.find_audit_finding(session, row.id, by=town.actor(agency, CATALOG))
    above = town.actor("province_authority", CATALOG)
    assert desk.find_audit_finding(session, row.id, by=above) is row and not desk.allowed_acts(row, by=above)
    for refused in (above, town.actor("city_authority", APPROVER)):
        with pytest.raises(NotPermitted):
            desk.dismiss(session, row, reason="不同", by=refused, version=row.version)
    with pytest.raises(Invalid), session.begin_nested():
        desk.assign(session, row, person_id=clerk.id, by=city, version=row.version)
    session.refresh(row)
    desk.assign(session, row, person_id=mediator.id, by=city, version=row.version)
    assert [r.id for r in desk.list_audit_findings(session, by=city, assignee_id=mediator.id)] == [row.id]
    desk.dismiss(session, row, reason="含义不同", by=city, version=row.version)
    assert desk.progress(session, by=city) == {("same_element", "dismissed"): 1}
    assert [link.verdict for link in links.decided(session)] == ["different"]


def test_what_stands_under_no_authority_is_the_highest_one_s(session: Session, town: Town) -> None:
    nation = town.places["nation"].id
    for name in ("衛生局", "社會局"):  # of an imported catalog
        town.agencies[name] = agencies.register_agency(
            session, name=name, jurisdiction_id=nation, by=OPERATOR, verified=False
        )
    desk.take_in(
        session, [audited(town, ("衛生局", BIRTHS, "地址"), ("社會局", HOMES, "地址"))], model_version="1"
    )
    (row,) = session.scalars(select(AuditFinding))
    assert row.authority_id == town.id("province_authority")


def test_that_three_are_not_all_one_says_not_which_differ(session: Session, town: Town) -> None:
    three = audited(town, ("civil", BIRTHS, "甲"), ("health", HOMES, "乙"), ("market", FAMILIES, "丙"))
    desk.take_in(session, [three], model_version="1")
    (row,) = session.scalars(select(AuditFinding))
    city = town.actor("city_authority", CATALOG)
    desk.dismiss(session, row, reason="甲与另二者不同", by=city, version=row.version)
    assert links.decided(session) == []
    desk.reopen(session, row, reason="再核", by=city, version=row.version)
    desk.confirm(session, row, reason="确为同一数据元", by=city, version=row.version)
    assert [link.right_name for link in links.decided(session)] == ["乙", "丙"]
