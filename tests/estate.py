"""One of every aggregate in the state that each operation needs, and the request that calls the operation on it.

Built once through the real operations. `civil` provides, `health` asks, `city_authority` decides between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi.routing import APIRoute
from joserfc.jwk import OKPKey
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity import clients, grants, sessions, witnesses
from app.identity.models import Client
from app.kernel import clock, ledger
from app.kernel.actor import Role, Scope
from app.kernel.checkpoint import Cosigner, Signer
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.kernel.ledger import LedgerEntry
from app.kernel.outbound import Outbound
from app.kernel.timestamping import LedgerTimestamp
from app.main import ROUTERS, create_app
from app.settings import Settings
from catalog.collection import desk
from catalog.collection.audited import AuditedMember, AuditedRecord
from catalog.collection.models import AuditFinding
from catalog.imports import work
from exchange.delivery.protocol import ReceiptBatch
from tests.catalog import samples
from tests.catalog.bureau import KNOWN, NEW, planned
from tests.catalog.sheets import ITEM, RESOURCE, workbook
from tests.conftest import PUBLIC_URL, AsService, OneTransaction
from tests.delivery.systems import GATEWAY_URL, HTTP_SOURCE, Calls, System, system
from tests.exchange.world import START, Json, World, terms, to
from tests.factories import OPERATOR, Town, credit_code

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR
CATALOG = Role.CATALOG_ADMINISTRATOR
NOT_THERE = "018f0000-0000-7000-8000-00000000fffe"
WHY = {"reason": "依法处理"}
ROUTES = {
    route.operation_id: route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)
}


@dataclass(frozen=True)
class Call:
    """What is sent beside the credential. `names` fill the path; `version` goes into If-Match."""

    names: tuple[Any, ...] = ()
    body: Any = None
    version: int | None = None
    query: dict[str, Any] = field(default_factory=dict)
    form: dict[str, str] | None = None
    file: bytes | None = None


def on(case: Json, body: Any = None, **more: Any) -> Call:
    """A call on a case as it was last read."""
    return Call((case["id"],), body, case.get("version"), **more)


class Estate:
    """`calls` by (operation, what it is called on); every one succeeds for who may."""

    def __init__(self, world: World, signer: Signer) -> None:
        self.world = world
        self.calls: dict[tuple[str, str], Call] = {}
        self._identity()
        self._catalog()
        self._collection()
        self._exchange()
        self._agreements()
        self._corrections()
        self._disputes()
        self._delivery()
        self._telling()
        self._ledger(signer)
        world.session.commit()

    def request(self, key: tuple[str, str], call: Call | None = None, **changes: Any) -> dict[str, Any]:
        """The arguments of an HTTP client's `request` that make the call (or another one of that operation),
        `changes` among them; headers add up."""
        call = call or self.calls[key]
        method, url = address(key[0], call.names)
        sent: dict[str, Any] = {"method": method, "url": url, "params": call.query, "headers": {}}
        if call.version is not None:
            sent["headers"]["If-Match"] = f'"{call.version}"'
        if call.body is not None:
            sent["json"] = call.body
        if call.form is not None:
            sent["data"] = call.form
        if call.file is not None:
            sent["files"] = {"file": ("附件.pdf" if call.file[:4] == b"%PDF" else "目录.xlsx", call.file)}
        return {**sent, **changes, "headers": sent["headers"] | changes.get("headers", {})}

    def _add(self, operations: str, on_what: str, call: Call) -> None:
        for operation in operations.split():
            self.calls[operation, on_what] = call

    def _identity(self) -> None:
        town, session = self.world.town, self.world.session
        newcomer = town.person("civil", CLERK, number=9)
        secret = sessions.issue_one_time_secret(session, newcomer, by=OPERATOR)
        self.newcomer: System = system(self.world, "civil", Scope.CATALOG)
        key = OKPKey.generate_key("Ed25519").as_dict(private=False)
        nothing = Call()
        self._add("health.live health.ready token.metadata token.keys", "-", nothing)
        self._add("session.end me.read jurisdiction.list agency.list person.list client.list", "-", nothing)
        self._add("session.create", "-", Call(body={"login": newcomer.login, "secret": secret}))
        self._add("token.issue", "-", Call(form=self.newcomer.form()))
        self._add("me.set_password", "-", Call(body={"password": "Yun-Jiang-2026"}))
        self._add("agency.read", "provider", Call((town.id("civil"),)))
        place = {"code": "990109", "name": "北区", "name_en": "North", "parent_code": "990100"}
        self._add("jurisdiction.register", "city", Call(body=place))
        agency = {
            "name": "测试市教育局", "jurisdiction_code": "990100", "credit_code": credit_code(77),
            "responsible_leader": "分管负责人", "internal_office": "信息中心",
        }  # fmt: skip
        self._add("agency.register", "city", Call(body=agency))
        of_civil = {"agency_id": str(town.id("civil")), "name": "newcomer"}
        self._add("person.register", "provider", Call(body={**of_civil, "login": "newcomer", "roles": []}))
        self._add("person.issue_secret", "provider", Call((newcomer.id,)))
        self._add("me.sessions me.begin_second_factor", "-", nothing)
        self._add("me.set_language", "-", Call(body={"locale": "en"}))
        self._add("me.end_session", "-", Call((NOT_THERE,)))
        self._add("me.confirm_second_factor", "-", Call(body={"code": "000000"}))
        self._add("person.suspend", "provider", Call((newcomer.id,), WHY))
        self._add("person.end_sessions person.reset_second_factor", "provider", Call((newcomer.id,)))
        asleep_person = town.person("civil", CLERK, number=8)
        sessions.set_active(session, asleep_person, False, reason="离职", by=OPERATOR)
        self._add("person.resume", "suspended", Call((asleep_person.id,), WHY))
        self._add("role_grant.ask", "provider", Call((newcomer.id,), {"roles": ["mediator"], **WHY}))
        asker = town.actor("city_authority", Role.SECURITY_ADMINISTRATOR, number=9)
        town.person("city_authority", Role.SYSTEM_ADMINISTRATOR, number=9)  # who could confirm it
        asked = grants.ask(session, newcomer, [Role.APPROVER], reason=None, by=asker)
        grant = {"id": asked.id, "version": asked.version}
        self._add("role_grant.confirm role_grant.refuse", "asked", on(grant, {}))
        self._add("role_grant.events", "asked", Call((asked.id,)))
        self._add("role_grant.list personal_read.list", "-", nothing)
        handed = {"to_agency_id": str(town.id("health")), "roles": ["clerk"], "until": "2026-12-31", **WHY}
        self._add("delegation.give", "-", Call(body={**handed, "to_agency_id": str(town.id("east_health"))}))
        self._add("delegation.list", "-", nothing)
        given = self.world.call("POST", "/delegations", "civil", APPROVER, body=handed, expect=201)
        self._add("delegation.end", "given", Call((given["id"],)))
        self._add("session.begin_at_provider session.finish_at_provider", "-", nothing)
        client = {**of_civil, "title": "业务系统", "scopes": ["catalog"], "jwk": key}
        self._add("client.register", "provider", Call(body=client))
        self._add("client.add_key", "provider", Call((self.newcomer.id,), {"jwk": key}))
        self._add("client.keys", "provider", Call((self.newcomer.id,)))
        self._add("client.remove_key", "provider", Call((self.newcomer.id, self.newcomer.key.kid)))
        self._add("client.suspend", "provider", Call((self.newcomer.id,), WHY))
        asleep = system(self.world, "civil", Scope.CATALOG)
        row = self.world.session.get_one(Client, asleep.id)
        clients.set_active(self.world.session, row, False, reason="停用", by=OPERATOR)
        self._add("client.resume", "suspended", Call((asleep.id,), WHY))

    def _catalog(self) -> None:
        world = self.world
        self.resource = world.publish()
        record = samples.body()
        draft = world.call("POST", "/resources", "civil", CLERK, body={"record": record}, expect=201)
        statement = {"secrecy_review": "保密审查〔2026〕1号", "personal_information_assessment": "评估1号"}
        published = world.read("resources", self.resource, "civil")
        everyone = "resource.read resource.items resource.versions resource.events"
        self._add("resource.list", "-", Call())
        self._add("search.query", "-", Call(query={"q": "婚姻"}))
        self._add("search.suggest", "-", Call(query={"q": "hy"}))
        self._add("resource.create", "-", Call(body={"record": record}))
        for name, case in (("draft", draft), ("published", published)):
            self._add(everyone, name, on(case))
        self._add("resource.edit", "draft", on(draft, {"record": record}))
        self._add("resource.file", "draft", on(draft, statement))
        filed = world.call("POST", "/resources", "civil", CLERK, body={"record": record}, expect=201)
        filed = world.call(
            "POST", f"/resources/{filed['id']}/file", "civil", APPROVER, version=1, body=statement
        )
        self._add("resource.publish", "filed", on(filed))
        self._add("resource.return", "filed", on(filed, {"defects": [{"message": "摘要过于简略"}]}))
        self._add("resource.suspend resource.withdraw", "published", on(published, WHY))
        path = f"/resources/{world.publish()}/suspend"
        suspended = world.call("POST", path, "civil", APPROVER, version=3, body=WHY)
        self._add("resource.resume", "suspended", on(suspended, WHY))
        self._review(published)
        self._elements(published)
        self._interop(draft, published)
        sheet = workbook(RESOURCE, ITEM).read()
        self._imports(sheet)

    def _imports(self, sheet: bytes) -> None:
        world = self.world
        self._add("import.submit", "draft", Call(file=sheet, form={"as": "draft"}))
        self._add("import.submit", "published", Call(file=sheet, form={"as": "published"}))
        self._add("import.template import.list mapping.list harvest.list", "-", Call())
        self._add("export.catalog", "-", Call(("csv",)))
        by_civil = world.headers("civil", CATALOG)
        for name in ("received", "previewed"):
            sent = world.client.request(**self.request(("import.submit", "draft"), headers=by_civil)).json()
            if name == "previewed":
                database = OneTransaction(world.client.app.state.database, world.session.connection())  # type: ignore[attr-defined]
                work.rehearse(database, Outbound(), {"import_id": sent["id"]})
                world.session.expire_all()
                sent = world.read("imports", sent["id"], "civil", CATALOG)
                self._add("import.commit", name, on(sent))
                form = {"as": "filed"}
                filed = self.request(
                    ("import.submit", "draft"), Call(file=sheet, form=form), headers=by_civil
                )
                job = world.client.request(**filed).json()
                work.rehearse(database, Outbound(), {"import_id": job["id"]})
                world.session.expire_all()
                job = world.read("imports", job["id"], "civil", CATALOG)
                statement = {
                    "secrecy_review": "保密审查〔2026〕1号",
                    "personal_information_assessment": "评估1号",
                }
                statement = {"secrecy_review": "一号", "personal_information_assessment": "不涉及"}
                self._add("import.file", name, on(job, statement))
                self._add("import.rows import.rejected", name, Call((sent["id"],)))
            self._add("import.read import.events", name, Call((sent["id"],)))
            self._add("import.cancel", name, on(sent))
        mapping = {
            "name": "ours",
            "title": {"zh": "本单位", "en": "ours"},
            "fields": {"title": {"column": "名称"}},
        }
        self._add("mapping.keep", "-", Call(body={**mapping, "name": "another"}))
        kept = world.client.request(
            **self.request(("mapping.keep", "-"), Call(body=mapping), headers=by_civil)
        ).json()
        self._add("mapping.read", "provider", Call((kept["id"],)))
        self._add("mapping.edit", "provider", Call((kept["id"],), mapping, kept["version"]))
        self._add("mapping.remove", "provider", Call((kept["id"],), None, kept["version"]))
        source = {"name": "上级目录", "kind": "ckan", "url": "https://data.example.gov.cn"}
        self._add("harvest.add", "-", Call(body=source))
        active = world.call("POST", "/harvests", "civil", CATALOG, body=source, expect=201)
        self._add(
            "harvest.read harvest.events harvest.run harvest.pause harvest.remove", "active", on(active)
        )
        self._add("harvest.edit", "active", on(active, source))
        paused = world.call("POST", "/harvests", "civil", CATALOG, body=source, expect=201)
        paused = world.call("POST", f"/harvests/{paused['id']}/pause", "civil", CATALOG, version=1)
        self._add("harvest.resume", "paused", on(paused))

    def _review(self, published: Json) -> None:
        world, record = self.world, samples.body(title="婚姻登记")
        statement = {"secrecy_review": "保密审查〔2026〕1号", "personal_information_assessment": "评估1号"}
        two = {"before": 1, "after": 1}
        self._add("resource.changes", "published", on(published, query=two))
        self._add("resource.use resource.filings resource.defects", "published", on(published))
        self._add("resource.report_update", "published", on(published, {}))
        law = {"change": "law", "citation": "婚姻登记条例", **WHY}
        self._add("resource.note_change", "published", on(published, law))
        due = self._published_again()
        due = world.call(
            "POST", f"/resources/{due['id']}/note_change", "civil", CLERK, version=due["version"], body=law
        )
        more = {"working_days": 5, **WHY}
        self._add("resource.ask_extension", "due", on(due, more))
        asked = self._published_again()
        path = f"/resources/{asked['id']}"
        asked = world.call("POST", f"{path}/note_change", "civil", CLERK, version=asked["version"], body=law)
        asked = world.call(
            "POST", f"{path}/ask_extension", "civil", APPROVER, version=asked["version"], body=more
        )
        self._add("resource.extend resource.refuse_extension", "extension asked", on(asked, WHY))
        self._add("revision.open", "published", on(published, WHY))
        copies = [self._revision(record) for _ in range(4)]
        draft, filed, returned, answered = copies
        reads = "revision.read revision.changes revision.filings revision.defects revision.events"
        self._add(reads, "draft", on(draft))
        self._add("revision.list", "-", Call())
        self._add("revision.edit", "draft", on(draft, {"record": draft["record"]}))
        self._add("revision.file", "draft", on(draft, statement))
        self._add("revision.discard", "draft", on(draft, {}))
        defects = {"defects": [{"field": "/abstract", "message": "过于简略"}]}
        threads = []
        for copy in (filed, returned, answered):
            path = f"/revisions/{copy['id']}"
            copy.update(world.call("POST", f"{path}/file", "civil", APPROVER, version=2, body=statement))
            if copy is not filed:
                copy.update(
                    world.call("POST", f"{path}/return", "city_authority", CATALOG, version=3, body=defects)
                )
                threads += world.call("GET", f"{path}/defects", "civil", CLERK)
        self._add("revision.publish", "filed", on(filed))
        self._add("revision.return", "filed", on(filed, defects))
        text = {"text": "已补充"}
        path = f"/defects/{threads[1]['id']}/answer"
        threads[1] = world.call("POST", path, "civil", CLERK, version=1, body=text)
        path = f"/revisions/{answered['id']}/file"
        world.call("POST", path, "civil", APPROVER, version=4, body=statement)
        self._add("defect.answer", "open", on(threads[0], text))
        self._add("defect.drop", "open", on(threads[0], WHY))
        self._add("defect.confirm defect.reopen", "answered", on(threads[1], text))

    def _elements(self, published: Json) -> None:
        world = self.world
        meaning = {"name": "公民身份号码", "definition": "公民身份的唯一代码", "data_type": "C"}
        self._add("element.list", "-", Call())
        self._add("element.add element.propose", "city", Call(body={**meaning, "name": "出生日期"}))
        known = world.call("POST", "/elements", "city_authority", CATALOG, body=meaning, expect=201)
        proposed = {**meaning, "name": "登记机关"}
        proposed = world.call("POST", "/elements/proposals", "civil", CLERK, body=proposed, expect=201)
        for name, case in (("registered", known), ("proposed", proposed)):
            self._add("element.read element.items element.events", name, on(case))
        self._add("element.register element.decline", "proposed", on(proposed, {}))
        self._add("element.revise", "registered", on(known, meaning))
        self._add("element.retire", "registered", on(known, {}))
        source = {"agency_id": str(world.town.id("civil")), "basis": "户口登记条例"}
        self._add("element.name_source", "registered", on(known, source))
        self._add("resource.elements resource.quality", "published", on(published))
        code = published["record"]["items"][0]["code"]
        link = {"element_id": known["id"]}
        self._add("element.link", "published", Call((published["id"], code), link))
        other = self._published_again()
        world.call("PUT", f"/resources/{other['id']}/items/{code}/element", "civil", CLERK, body=link)
        self._add("element.unlink", "linked", Call((other["id"], code)))
        self._add("quality.list", "-", Call())
        self._following(published)
        guide = {"office": "信息公开办公室", "how_to_ask": "书面申请"}
        self._add("disclosure.read", "provider", Call((world.town.id("civil"),)))
        self._add("disclosure.write", "provider", Call((world.town.id("civil"),), guide, 0))

    def _following(self, published: Json) -> None:
        world = self.world
        self._add("saved_search.list following.list following.changes", "-", Call())
        search = {"name": "婚姻", "asked": {"q": "婚姻"}}
        self._add("saved_search.save", "-", Call(body=search))
        self._add("following.follow", "published", Call(body={"resource_id": published["id"]}))
        self._add("following.mark_read", "-", Call(body={"up_to": published["id"]}))
        kept = world.call("POST", "/saved-searches", "civil", CLERK, body=search, expect=201)
        made = {"search_id": kept["id"]}
        followed = world.call("POST", "/followings", "civil", CLERK, body=made, expect=201)
        self._add("saved_search.remove", "a clerk's", Call((kept["id"],)))
        self._add("following.unfollow", "a clerk's", Call((followed["id"],)))

    def _published_again(self) -> Json:
        return self.world.read("resources", self.world.publish(), "civil")

    def _revision(self, record: Json) -> Json:
        """A working copy that changes the title."""
        world, resource = self.world, self.world.publish()
        path = f"/resources/{resource}/revisions"
        copy = world.call("POST", path, "civil", CLERK, body=WHY, expect=201)
        changed = copy["record"] | {"title": record["title"]}
        done: Json = world.call(
            "PUT", f"/revisions/{copy['id']}", "civil", CLERK, version=1, body={"record": changed}
        )
        return done

    def _interop(self, draft: Json, published: Json) -> None:
        self._add("dcat.catalog", "-", Call(("ttl",)))
        self._add("dcat.us", "-", Call())
        self._add("ckan.get", "-", Call(("package_list",)))
        self._add("ckan.post", "-", Call(("package_list",), body={}))
        self._add("ogc.landing ogc.conformance ogc.collections", "-", Call())
        self._add("ogc.collection ogc.queryables ogc.sortables ogc.items", "-", Call(("resources",)))
        for name, case in (("draft", draft), ("published", published)):
            self._add("dcat.resource", name, Call((case["id"], "ttl")))
            self._add("ogc.item", name, Call(("resources", case["id"])))
            self._add("ckan.get", name, Call(("package_show",), query={"id": case["id"]}))

    def _collection(self) -> None:
        world = self.world
        items = [{"name": KNOWN}]
        self._add("collection.check", "-", Call(body={"items": items}))
        self._add("collection.grounds plan.list finding.list notice.list", "-", Call())
        self._add("plan.draft", "-", Call(body=planned(NEW)))
        schema = b'{"title": "\xe8\xb0\x83\xe6\x9f\xa5", "properties": {"name": {"type": "string"}}}'
        self._add("plan_import.create plan_import.rejected", "-", Call(file=schema, form={"plan": "{}"}))
        self._add("plan_import.template", "-", Call())
        draft, cleared = self._plan(NEW, filed=False), self._plan(NEW)
        for name, plan in (("draft", draft), ("filed", cleared)):
            self._add("plan.read plan.events plan.findings", name, on(plan))
        self._add("plan.edit", "draft", on(draft, planned(NEW)))
        self._add("plan.file", "draft", on(draft))
        self._add("plan.collect plan.close", "filed", on(cleared))
        self._add("plan.amend", "filed", on(cleared, planned(NEW)))
        self._add(
            "plan.renew", "filed", on(cleared, {"period_from": "2027-01-01", "period_until": "2027-12-31"})
        )
        self._add("plan.changes", "filed", on(cleared))
        leave = {**WHY, "until": "2026-12-31"}
        self._add("plan.permit", "blocked", on(self._plan(KNOWN), leave))
        flagged = self._finding()
        ground = {"ground": "finer_detail", "text": "现有信息只到区，本次须到社区"}
        self._add("finding.read finding.events", "flagged", on(flagged))
        self._add("finding.withdraw", "flagged", on(flagged, WHY))
        self._add("finding.justify", "flagged", on(flagged, ground))
        accepted = {**WHY, "scope": "仅限社区一级", "until": "2026-12-31"}
        acts: list[tuple[str, str, Role, Json, int]] = [
            ("justify", "civil", CLERK, ground, 1),
            ("uphold", "city_authority", MEDIATOR, WHY, 2),
            ("appeal", "civil", APPROVER, WHY, 1),
            ("uphold", "city_authority", CATALOG, WHY, 2),
        ]
        reached = [self._finding(acts[:n]) for n in range(1, 5)]
        justified, upheld, appealed, upheld_again = reached
        for name, case in (("justified", justified), ("appealed", appealed)):
            self._add("finding.accept", name, on(case, accepted))
            self._add("finding.uphold", name, on(case, WHY))
        self._add("finding.appeal finding.share_instead", "upheld", on(upheld, WHY))
        self._add("finding.notice", "appeal refused", on(upheld_again))
        criticised = self._finding(acts)
        path = f"/findings/{criticised['id']}/notice"
        version = criticised["version"]
        notice = world.call("POST", path, "city_authority", APPROVER, version=version, expect=201)
        self._add("notice.read", "issued", Call((notice["id"],)))
        self._audit()

    def _audit(self) -> None:
        world, held = self.world, [("civil", self.resource), ("health", self.world.publish())]
        members = tuple(
            AuditedMember(
                resource_id=resource, resource_title="登记", agency_id=world.town.id(agency), agency_name=agency,
                item_code="name", item_name="姓名",
            )
            for agency, resource in held
        )  # fmt: skip
        twice = AuditedRecord(relation="same_element", band="reuse_expected", score=0.9, members=members)
        desk.take_in(world.session, [twice], model_version="1")
        self._add("collection.figures collection.precedents collection.sources", "city", Call())
        self._add("supervision.figures supervision.sharing", "city", Call())
        self._add("audit_finding.list audit_finding.progress", "city", Call())
        (row,) = world.session.scalars(select(AuditFinding))
        found = {"id": row.id, "version": 1}
        self._add("audit_finding.read audit_finding.events", "found", on(found))
        self._add("audit_finding.confirm audit_finding.dismiss", "found", on(found, WHY))
        mediator = world.town.person("city_authority", MEDIATOR)
        self._add("audit_finding.assign", "found", on(found, {"person_id": str(mediator.id)}))
        others = [member.model_copy(update={"item_code": "other"}) for member in members]
        twice = AuditedRecord(relation="same_element", band="review", score=0.5, members=tuple(others))
        desk.take_in(world.session, [twice], model_version="1", examined=())
        decided = world.session.scalars(select(AuditFinding).where(AuditFinding.key == twice.key)).one()
        by = world.town.actor("city_authority", CATALOG)
        desk.dismiss(world.session, decided, reason="含义不同", by=by, version=1)
        self._add("audit_finding.reopen", "dismissed", on({"id": decided.id, "version": 2}, WHY))

    def _plan(self, *names: str, filed: bool = True) -> Json:
        plan: Json = self.world.call("POST", "/plans", "civil", CLERK, body=planned(*names), expect=201)
        if filed:
            plan = self.world.call("POST", f"/plans/{plan['id']}/file", "civil", APPROVER, version=1)
        return plan

    def _finding(self, acts: list[tuple[str, str, Role, Json, int]] | None = None) -> Json:
        plan = self._plan(KNOWN)
        (row,) = self.world.call("GET", f"/plans/{plan['id']}/findings", "civil", CLERK)
        finding = self.world.read("findings", row["id"], "civil")
        for act, agency, role, body, number in acts or []:
            finding = self.world.call(
                "POST", f"/findings/{finding['id']}/{act}", agency, role, number=number,
                version=finding["version"], body=body,
            )  # fmt: skip
        return finding

    def _exchange(self) -> None:
        world, agreed = self.world, terms(self.resource)
        narrower = terms(self.resource, items=("name",))
        wanted = {"title": "核验登记信息", "terms": agreed}
        draft = world.draft(self.resource)
        self._add("request.list negotiation.list negotiation.grounds", "-", Call())
        self._add("request.draft", "-", Call(body=wanted))
        self._add("request.read request.events", "draft", on(draft))
        self._add("request.amend", "draft", on(draft, wanted))
        self._add("request.file request.discard", "draft", on(draft))
        self._add("request.check", "-", Call(body=wanted))
        self._add("request.reuse", "draft", on(draft))
        requested = world.filed(self.resource)
        reads = "negotiation.read negotiation.versions negotiation.events"
        self._add(reads, "requested", on(requested))
        self._add("negotiation.changes", "requested", on(requested, query={"before": 1, "after": 1}))
        self._add("negotiation.ask_material", "requested", on(requested, WHY))
        self._add("negotiation.withdraw", "requested", on(requested, WHY))
        more_time = {"working_days": 5, **WHY}
        self._add("negotiation.ask_extension", "requested", on(requested, more_time))
        elsewhere = {"to_agency_id": str(world.town.id("market")), **WHY}
        self._add("negotiation.transfer", "requested", on(requested, elsewhere))
        self._add("negotiation.draft_terms", "requested", on(requested, {"terms": narrower}))
        self._add("negotiation.agree", "requested", on(requested, to(requested["terms"])))
        refusal = {"ground": "exceeds_need", **WHY}
        self._add("negotiation.refuse", "requested", on(requested, refusal))
        asked = world.act(world.filed(self.resource), "ask_material", "civil", CLERK, WHY)
        self._add("negotiation.supply_material", "material asked", on(asked, WHY))
        asked = world.act(world.filed(self.resource), "ask_extension", "civil", APPROVER, more_time)
        self._add("negotiation.extend negotiation.refuse_extension", "extension asked", on(asked, WHY))
        drafted = world.act(world.filed(self.resource), "draft_terms", "civil", CLERK, {"terms": narrower})
        self._add("negotiation.offer", "drafted", on(drafted, to(drafted["draft"])))
        offered = world.offered(world.filed(self.resource), narrower)
        self._add("negotiation.draft_terms", "offered", on(offered, {"terms": agreed}))
        self._add("negotiation.accept", "offered", on(offered, to(offered["terms"])))
        countering = world.offered(world.filed(self.resource), narrower)
        countering = world.act(countering, "draft_terms", "health", CLERK, {"terms": agreed})
        self._add("negotiation.counter_offer", "countering", on(countering, to(countering["draft"])))
        accepted = world.offered(world.filed(self.resource), narrower)
        accepted = world.act(accepted, "accept", "health", APPROVER, to(accepted["terms"]))
        self._add("negotiation.agree", "accepted", on(accepted, to(accepted["terms"])))
        self._add("negotiation.open_dispute", "refused", on(world.refused(), WHY))
        self._discussion(requested, narrower)
        self._policies()

    def _discussion(self, requested: Json, narrower: Json) -> None:
        world = self.world
        point = {"points": [{"field": "/method", "text": "改为核验"}]}
        self._add("negotiation.agree_in_principle", "requested", on(requested, point))
        self._add("negotiation.comment", "requested", on(requested, {"field": "/method", "body": "宜用核验"}))
        self._add("negotiation.attach", "requested", on(requested, file=b"%PDF-1.7", form={"field": ""}))
        attached = world.attached(world.filed(self.resource))
        names = (attached["id"], attached["attachments"][0]["id"])
        self._add("negotiation.attachment", "attached", Call(names))
        refused = world.filed(self.resource)
        refusal = {"ground": "exceeds_need", "narrower": narrower, **WHY}
        world.act(refused, "refuse", "civil", APPROVER, refusal)
        refused = world.read("negotiations", refused["id"], "health")
        self._add("negotiation.request_narrower", "refused", on(refused))
        question = {"code": "where", "kind": "text", "text": {"zh": "存放何处？", "en": "Kept where?"}}
        asked = Call((str(world.publish()),), {"questions": [question]}, version=0)
        self._add("resource.questions resource.set_questions", "published", asked)

    def _policies(self) -> None:
        world = self.world
        rule = world.rule("health")
        self._add("policy.list", "-", Call())
        self._add("policy.draft", "published", Call(body={"resource_id": str(self.resource), "rule": rule}))
        elsewhere = world.publish()
        draft = world.policy(elsewhere, rule, adopted=False)
        self._add("policy.read policy.events", "draft", on(draft))
        self._add("policy.adopt policy.discard", "draft", on(draft, WHY))
        self._add("policy.revoke", "in force", on(world.policy(elsewhere, rule), WHY))

    def _agreements(self) -> None:
        world = self.world
        self.agreement = world.agreed()
        self._add("calendar.list", "-", Call())
        year = {"off": ["2031-01-01"], "work": []}
        self._add("calendar.import", "-", Call(("test", 2031), year))
        self._add("agreement.list", "-", Call())
        reads = "agreement.read agreement.events agreement.use agreement.versions agreement.odrl agreement.document"
        self._add(reads, "in force", on(self.agreement))
        acts = "suspend announce_end terminate complete"
        for act in acts.split():
            self._add(f"agreement.{act}", "in force", on(self.agreement, WHY))
        passed_on = {
            "side": "provider", "to_agency_id": str(world.town.id("market")), "document": "机构改革〔2026〕1号", **WHY
        }  # fmt: skip
        self._add("agreement.transfer", "in force", on(self.agreement, passed_on))
        suspended = world.act(world.agreed(), "suspend", "civil", APPROVER, WHY)
        self._add("agreement.resume", "suspended by provider", on(suspended, WHY))
        suspended = world.act(world.agreed(), "suspend", "city_authority", MEDIATOR, WHY)
        self._add("agreement.resume", "suspended by authority", on(suspended, WHY))
        announced = world.act(world.agreed(), "announce_end", "civil", APPROVER, WHY)
        self._add("agreement.agree_end", "end announced", on(announced, WHY))
        ended = world.act(
            world.read("agreements", world.agreed()["id"], "health"), "complete", "health", APPROVER, {}
        )
        disposal = {"disposed_on": "2026-09-18", "disposal": "删除并覆写"}
        self._add("agreement.certify_disposal", "ended", on(ended, disposal))
        certified = world.act(
            world.read("agreements", world.agreed()["id"], "health"), "complete", "health", APPROVER, {}
        )
        certified = world.act(certified, "certify_disposal", "health", APPROVER, disposal)
        self._add("agreement.disposal", "certified", on(certified))

    def _corrections(self) -> None:
        wrong = {
            "agreement_id": self.agreement["id"], "resource_id": self.agreement["terms"]["resources"][0]["resource_id"],
            "items": ["name"], "records": "2026年8月的三笔", "error": "姓名有误",
        }  # fmt: skip
        self._add("correction.list", "-", Call())
        self._add("correction.report", "in force", Call(body=wrong))
        reported = self._correction(wrong)
        self._add("correction.read correction.events", "reported", on(reported))
        self._add("correction.correct correction.reject correction.withdraw", "reported", on(reported, WHY))
        rejected, escalated = (self._taken(self._correction(wrong), "reject", "civil") for _ in range(2))
        self._add("correction.escalate", "rejected", on(rejected, WHY))
        escalated = self._taken(escalated, "escalate", "health")
        self._add("correction.order correction.dismiss", "escalated", on(escalated, WHY))

    def _correction(self, wrong: Json) -> Json:
        case: Json = self.world.call("POST", "/corrections", "health", CLERK, body=wrong, expect=201)
        return case

    def _taken(self, case: Json, act: str, agency: str) -> Json:
        path = f"/corrections/{case['id']}/{act}"
        done: Json = self.world.call("POST", path, agency, APPROVER, body=WHY, version=case["version"])
        return done

    def _disputes(self) -> None:
        world = self.world
        ruling = {"outcome": "deny", "reasons": "用途与职责不符", "legal_basis": "809-20"}
        opened = world.act(world.refused(), "open_dispute", "health", APPROVER, WHY, expect=201)
        self._add("dispute.list", "-", Call())
        self._add("dispute.read dispute.events", "opened", on(opened))
        self._add("dispute.admit", "opened", on(opened))
        self._add("dispute.decline dispute.refer dispute.withdraw", "opened", on(opened, WHY))
        settled = {"agreement_id": self.agreement["id"]}
        self._add("dispute.record_settlement", "opened", on(opened, settled))
        hearing = world.disputed()
        middle = terms(self._resource_of(hearing), items=("name",))
        self._add("dispute.state", "hearing", on(hearing, {"body": "办理生育登记所必需"}))
        self._add("dispute.propose", "hearing", on(hearing, {"terms": middle}))
        self._add("dispute.draft_ruling", "hearing", on(hearing, ruling))
        proposed = world.disputed()
        middle = terms(self._resource_of(proposed), items=("name",))
        proposed = world.act(proposed, "propose", "city_authority", MEDIATOR, {"terms": middle})
        self._add("dispute.accept", "proposed", on(proposed, to(proposed["proposal"])))
        self._add("dispute.decline_proposal", "proposed", on(proposed, WHY))
        drafted = self._ruling_drafted(ruling)
        self._add("dispute.rule", "ruling drafted", on(drafted, self._latest(drafted)))
        ruled = self._ruled(ruling)
        self._add("dispute.ask_review", "ruled", on(ruled, WHY))
        self._add("ruling.list", "-", Call())
        self._add("dispute.attach", "hearing", on(hearing, file=b"%PDF-1.7", form={}))
        attached = world.attached(world.disputed(), kind="disputes")
        self._add("dispute.attachment", "attached", Call((attached["id"], attached["attachments"][0]["id"])))
        granting = {**ruling, "outcome": "grant"}
        granted = self._ruled(granting, of_its_own=True)
        self._add("dispute.report_noncompliance", "granted", on(granted, WHY))
        reported = self._ruled(granting, of_its_own=True)
        reported = world.act(reported, "report_noncompliance", "health", APPROVER, WHY)
        self._add("dispute.order_compliance", "reported", on(reported, WHY))
        review = world.act(self._ruled(ruling), "ask_review", "health", APPROVER, WHY)
        decision = {"document": "政复〔2026〕1号"}
        self._add("dispute.confirm", "in review", on(review, {**decision, **WHY}))
        self._add("dispute.change", "in review", on(review, {**decision, **ruling}))

    def _ruling_drafted(self, ruling: Json, *, of_its_own: bool = False) -> Json:
        """The draft is the second mediator's, so that the first may sign it. `of_its_own`: the ruling's terms
        are about what this very dispute is about."""
        case = self.world.disputed()
        if of_its_own:
            ruling = {**ruling, "terms": terms(self._resource_of(case), items=("name",))}
        drafted: Json = self.world.act(case, "draft_ruling", "city_authority", MEDIATOR, ruling, number=2)
        return drafted

    def _ruled(self, ruling: Json, *, of_its_own: bool = False) -> Json:
        drafted = self._ruling_drafted(ruling, of_its_own=of_its_own)
        done: Json = self.world.act(drafted, "rule", "city_authority", MEDIATOR, self._latest(drafted))
        return done

    def _latest(self, dispute: Json) -> Json:
        return {"ruling_id": dispute["rulings"][-1]["id"]}

    def _resource_of(self, dispute: Json) -> UUID:
        case = self.world.read("negotiations", dispute["negotiation_id"], "civil")
        return UUID(case["terms"]["terms"]["resources"][0]["resource_id"])

    def _delivery(self) -> None:
        world = self.world
        resource = str(self.resource)
        world.call("PUT", f"/resources/{resource}/source", "civil", CLERK, body=HTTP_SOURCE)
        self._add("source.connect", "provider", Call((resource,), HTTP_SOURCE))
        self._add("source.read", "provider", Call((resource,)))
        reported = Calls(world, self.agreement)
        receipt = reported.receipt()
        reported.ship(receipt)
        wanted = {"agreement_id": self.agreement["id"], "purpose": "check"}
        self._add("grant.issue", "in force", Call(body=wanted))
        self._add("grant.revoke", "issued", Call((reported.grant_id,)))
        self._add("gateway.state", "-", Call())
        batch = msgspec.to_builtins(ReceiptBatch(receipts=[reported.receipt()]))
        self._add("gateway.receipts", "-", Call(body=batch))
        self._add("receipt.list", "in force", Call(query={"agreement_id": self.agreement["id"]}))
        self._add("receipt.read", "in force", Call((receipt.call.id,)))

    def _telling(self) -> None:
        self._add("inbox.read event.feed digest.read digest.end webhook.list", "-", Call())
        self._add("digest.subscribe", "-", Call(body={"address": "clerk@example.gov.cn"}))
        where = {"url": "https://hooks.example.gov.cn/zhengtong"}
        self._add("webhook.register", "-", Call(body=where))
        told = self.world.call("POST", "/webhooks", "civil", APPROVER, body=where, expect=201)
        acts = "webhook.read webhook.issue_secret webhook.pause webhook.resume webhook.remove"
        self._add(acts, "provider", on(told))

    def _ledger(self, signer: Signer) -> None:
        session = self.world.session
        session.flush()
        ledger.sequence(session, signer)
        entry = session.scalars(select(LedgerEntry.id).limit(1)).one()
        self._add("ledger.checkpoint ledger.key", "-", Call())
        self._add("ledger.tile", "-", Call((0, "000.p/1")))
        self._add("ledger.entries", "-", Call(("000.p/1",)))
        self._add("ledger.consistency", "-", Call(query={"old": 1, "new": 1}))
        self._add("ledger.proof", "-", Call((entry,)))
        cosigner, other = (Cosigner(name, Ed25519PrivateKey.generate()) for name in ("watcher", "another"))
        watcher = witnesses.register(
            session, verifier_key=str(cosigner.verifier_key), agency_id=None,
            by=self.world.town.actor("city_authority", Role.SECURITY_ADMINISTRATOR),
        )  # fmt: skip
        head = ledger.latest_checkpoint(session)
        assert head is not None
        session.add(LedgerTimestamp(size=head.size, at=START, response=b"as it came"))
        self._add("ledger.timestamps", "-", Call())
        self._add("ledger.timestamp", "stamped", Call((head.size,)))
        self._add("ledger.witnesses", "-", Call())
        self._add(
            "ledger.cosign", "-", Call(body={"note": head.note + cosigner.cosign(head.note, 1_800_000_000)})
        )
        self._add("ledger_witness.register", "-", Call(body={"verifier_key": str(other.verifier_key)}))
        self._add(
            "ledger_witness.retire",
            "registered",
            Call((watcher.id,), {"reason": "密钥停用"}, watcher.version),
        )


def address(operation: str, names: tuple[Any, ...] = ()) -> tuple[str, str]:
    """The method and path of an operation, the path's parameters filled with `names` in order."""
    route = ROUTES[operation]
    (method,) = route.methods or {"GET"}
    values = iter(names)
    return method, re.sub(r"\{[^}]+\}", lambda _: str(next(values)), route.path)


@contextmanager
def estate_on(database: Database, keys: ServiceKeys, data: Path) -> Iterator[Estate]:
    """An estate in a transaction of the database that is rolled back in the end. The clock stands still."""
    settings = Settings(data=data, database_url="", public_url=PUBLIC_URL, gateway_url=GATEWAY_URL)
    with database.engine.connect() as connection, clock.frozen(START):
        outer = connection.begin()
        in_it = AsService(database, connection)
        with (
            Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session,
            TestClient(create_app(settings, in_it, keys), base_url=PUBLIC_URL) as client,
        ):
            yield Estate(World(session, Town(session), client), keys.ledger)
        outer.rollback()
