"""The catalog's part of the estate: resources, their review, imports, elements, plans and findings."""

from __future__ import annotations

import base64

from sqlalchemy import select

from app.kernel.actor import Role
from app.kernel.outbound import Outbound
from catalog.collection import desk
from catalog.collection.audited import AuditedMember, AuditedRecord
from catalog.collection.models import AuditFinding
from catalog.collection.overlap import sketch
from catalog.imports import work
from tests.catalog import samples
from tests.catalog.bureau import KNOWN, NEW, planned
from tests.catalog.sheets import ITEM, RESOURCE, workbook
from tests.conftest import OneTransaction
from tests.estate_calls import APPROVER, CATALOG, CLERK, MEDIATOR, WHY, Call, Part, on
from tests.exchange.world import Json


class CatalogPart(Part):
    """Calls on what the catalog holds."""

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
        handed_in = {
            "label": "公民身份号码",
            "key_mark": "0" * 16,
            "sketch": base64.b64encode(sketch(["1"], bytes(16))).decode(),
        }
        self._add("sketch.list", "-", Call())
        self._add("sketch.register", "-", Call(body=handed_in))
        kept = world.call("POST", "/sketches", "civil", CLERK, body=handed_in, expect=201)
        self._add("sketch.overlaps", "handed in", Call((kept["id"],)))
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
        self._add("catalog_audit.ask", "city", Call(body={"whole": True}))
        asked = world.call("POST", "/audit/runs", "city_authority", CATALOG, body={"whole": True}, expect=201)
        self._add("catalog_audit.list", "city", Call())
        self._add("catalog_audit.read catalog_audit.events", "asked", Call((asked["id"],)))
        self._add("catalog_audit.cancel", "asked", on(asked))
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
