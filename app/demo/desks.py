"""What lies on the desks of the sample city's catalog: records on their way, working copies, data elements, guides.

Everything is done by the sample people through the services that everything else goes through. A second run finds
its work done and does nothing.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.demo.load import SOURCE
from app.identity import agencies, sessions
from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.db import Database, advisory_lock
from catalog.disclosure import Guide, GuideWords, keep_guide
from catalog.elements import service as elements
from catalog.elements.models import Element
from catalog.elements.service import Meaning
from catalog.following import service as following
from catalog.resources import revisions, service, updating, use
from catalog.resources.models import Item, Resource
from catalog.resources.record import ResourceRecord
from catalog.resources.review import FilingStatement, NewDefect
from catalog.resources.updating import ChangeNoted, DataUpdated
from exchange import use as exchange_use

use.told_by(exchange_use.use_of)

IDENTITY = Meaning.model_validate(
    {
        "name": "公民身份号码", "name_en": "citizen identity number", "data_type": "C", "length": 18,
        "definition": "公民的唯一、终身不变的身份代码（GB 11643）。", "aliases": ["身份证号", "居民身份证号码"],
    }
)  # fmt: skip
CREDIT = Meaning.model_validate(
    {
        "name": "统一社会信用代码", "name_en": "unified social credit code", "data_type": "C", "length": 18,
        "definition": "法人和其他组织的唯一身份代码（GB 32100）。", "aliases": ["社会信用代码"],
    }
)  # fmt: skip
SIGNED = FilingStatement(
    secrecy_review="云保审〔2026〕31号：不涉及国家秘密、工作秘密",
    personal_information_assessment="个人信息保护影响评估报告（2026年第12号）",
)
UPDATED = (
    "30400101/000001",
    "30400102/000001",
    "30400104/000001",
)  # whose data civil affairs reported as updated
MARRIAGES, HOMES, HARDSHIP = "30400102/000001", "30400104/000001", "30400101/000002"


def lay_out(database: Database) -> bool:
    """Put it all there; returns whether it was missing."""
    with database.transaction() as session:
        advisory_lock(session, f"{SOURCE}:desks")
        if session.scalar(select(Element.id).limit(1)) is not None:
            return False
        _register_elements(session)
        _work_on_records(session)
        _keep_up(session)
        _tell_the_public(session)
        return True


def _actor(session: Session, login: str) -> Actor:
    return sessions.actor_of(session, sessions.person_by_login(session, login))


def _resource(session: Session, source_id: str) -> Resource:
    return session.scalars(select(Resource).filter_by(source=SOURCE, source_id=source_id)).one()


def _register_elements(session: Session) -> None:
    """Two elements with their authoritative sources, items linked to them, and one that an agency proposes."""
    authority = _actor(session, "data.catalog")
    assert authority.agency_id is not None
    own = agencies.agency(session, authority.agency_id)
    for meaning, source, basis in (
        (IDENTITY, "police.clerk", "居民身份证法第三条"),
        (CREDIT, "market.clerk", "市场主体登记管理条例第二十一条"),
    ):
        element = elements.create(session, meaning, "add", agency=own, by=authority)
        agency_id = _actor(session, source).agency_id
        assert agency_id is not None
        elements.name_source(
            session, element, agency_id=agency_id, basis=basis, expected_version=element.version, by=authority
        )
        named = select(Item, Resource).join(Resource, Resource.id == Item.resource_id)
        theirs = named.where(Item.name == meaning.name, Resource.jurisdiction_id == own.jurisdiction_id)
        for item, resource in session.execute(theirs.order_by(Resource.code).limit(12)).all():
            elements.judge(session, resource, item.code, element=element, same=True, by=authority)
    clerk = _actor(session, "civil.clerk")
    assert clerk.agency_id is not None
    proposed = Meaning.model_validate(
        {"name": "低保证编号", "data_type": "C", "length": 20, "definition": "最低生活保障证的编号。"}
    )
    elements.create(session, proposed, "propose", agency=agencies.agency(session, clerk.agency_id), by=clerk)


def _work_on_records(session: Session) -> None:
    """A draft; a filed record; one sent back with two defects; a working copy; a duty to update."""
    clerk, approver = _actor(session, "civil.clerk"), _actor(session, "civil.approver")
    reviewer = _actor(session, "data.catalog")
    assert clerk.agency_id is not None
    draft = ResourceRecord(title="流浪乞讨人员救助信息", title_en="Help for vagrants")
    service.create_draft(session, agency_id=clerk.agency_id, record=draft, by=clerk)
    given = ResourceRecord.model_validate(_resource(session, HOMES).record)
    for title, title_en, defects in (
        ("儿童福利机构信息", "Homes for children", ()),
        ("殡葬服务机构信息", "Funeral services", (
            NewDefect(field="/abstract", message="摘要未写明数据的范围和时间"),
            NewDefect(field="/update_cycle", message="与你单位业务规程的周期不一致，请核对"),
        )),
    ):  # fmt: skip
        record = given.model_copy(update={"title": title, "title_en": title_en, "published_on": None})
        row = service.create_draft(session, agency_id=clerk.agency_id, record=record, by=clerk)
        service.file(session, row, statement=SIGNED, expected_version=row.version, by=approver)
        if defects:
            service.return_with_defects(
                session, row, defects=defects, expected_version=row.version, by=reviewer
            )
    marriages = _resource(session, MARRIAGES)
    copy = revisions.open_revision(
        session, marriages, reason="婚姻登记条例修订，登记不再限于户籍地", by=clerk
    )
    copy = revisions.find_revision(session, copy.id, by=clerk)
    record = ResourceRecord.model_validate(marriages.record)
    record = record.model_copy(update={"abstract": f"{record.abstract or ''}（含跨省通办登记）"[:256]})
    revisions.edit(session, copy, record=record, expected_version=copy.version, by=clerk)
    noted = ChangeNoted(
        change="law", citation="社会救助暂行办法（2025年修订）第十五条", reason="认定范围和动态管理周期有变化"
    )
    hardship = _resource(session, HARDSHIP)
    updating.note_change(
        session, hardship, noted, expected_version=hardship.version, by=clerk,
        parties=service.parties_of(session, clerk, hardship),
    )  # fmt: skip


def _keep_up(session: Session) -> None:
    """Data reported as updated, some long ago; people who follow resources and searches."""
    clerk = _actor(session, "civil.clerk")
    for days, source_id in zip((0, 20, 400), UPDATED, strict=True):
        told = DataUpdated(at=now() - timedelta(days=days), records=12_480 + days)
        updating.report_update(session, _resource(session, source_id), told, by=clerk, party="owner")
    reader = _actor(session, "housing.clerk")
    following.follow(session, resource_id=_resource(session, UPDATED[0]).id, by=reader)
    following.follow(session, agency_id=clerk.agency_id, by=reader)
    saved = following.save_search(session, name="住房保障要用的信息", asked={"q": "住房"}, by=reader)
    following.follow(session, search_id=saved.id, by=reader)


def _tell_the_public(session: Session) -> None:
    """Disclosure guides of two agencies."""
    for login, office, telephone in (
        ("civil.approver", "云江市民政局办公室", "0980-1234501"),
        ("housing.approver", "云江市住房和城乡建设局政务公开办公室", "0980-1234502"),
    ):
        by = _actor(session, login)
        assert by.agency_id is not None
        words = GuideWords(
            office=office, address="云江市政务路1号", hours="工作日 9:00-12:00，13:30-17:00", telephone=telephone,
            how_to_ask="可当面、邮寄或通过本平台提出；能当场答复的当场答复，其他自收到之日起20个工作日内答复。",
        )  # fmt: skip
        if session.get(Guide, by.agency_id) is None:
            keep_guide(session, agencies.agency(session, by.agency_id), words, expected_version=0, by=by)
