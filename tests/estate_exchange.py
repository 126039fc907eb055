"""The exchange's part of the estate: requests, negotiations, agreements, corrections and disputes."""

from __future__ import annotations

from uuid import UUID

from tests.estate_calls import APPROVER, CLERK, MEDIATOR, WHY, Call, Part, on
from tests.exchange.world import Json, terms, to


class ExchangePart(Part):
    """Calls on what two agencies have with each other."""

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
        self._add("dispute.read dispute.events dispute.document", "opened", on(opened))
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
