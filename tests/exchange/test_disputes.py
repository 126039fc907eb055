"""Disputes: from refusal to a ruling that is an agreement in force, and what may go otherwise."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from app.kernel.actor import Role
from exchange.agreements.models import Agreement
from exchange.disputes.models import Dispute, Ruling
from exchange.negotiations.models import Negotiation
from tests.exchange.world import Json, World, slug, terms, to

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR
CITY = "city_authority"


def asked_for(world: World, dispute: Json) -> Json:
    """The requester's last terms, as the mediator reads them."""
    negotiation = world.read("negotiations", dispute["negotiation_id"], CITY, MEDIATOR)
    found: Json = negotiation["terms"]["terms"]
    return found


def drafted(world: World, dispute: Json, outcome: str = "grant", **more: object) -> Json:
    body = {
        "outcome": outcome, "reasons": "申请用途在职责之内，拒绝无据", "legal_basis": "809-28; REG-21",
        "terms": asked_for(world, dispute) if outcome.startswith("grant") else None, **more,
    }  # fmt: skip
    done: Json = world.act(dispute, "draft_ruling", CITY, MEDIATOR, body)
    return done


def ruled(world: World, dispute: Json, outcome: str = "grant", **more: object) -> Json:
    case = drafted(world, dispute, outcome, **more)
    body = {"ruling_id": case["rulings"][-1]["id"]}
    done: Json = world.act(case, "rule", CITY, MEDIATOR, body, number=2)
    return done


def test_refusal_to_agreement_by_ruling(world: World) -> None:
    refused = world.refused()
    assert "open_dispute" in refused["allowed"]
    opened = world.act(refused, "open_dispute", "health", APPROVER, {"reason": "拒绝没有依据"}, expect=201)
    assert (opened["state"], opened["cause"]) == ("OPENED", "refused")
    assert opened["authority"]["id"] == str(world.town.id(CITY))
    assert world.read("negotiations", refused["id"], "health")["allowed"] == []

    docket = world.call("GET", "/disputes?waiting=true", CITY, MEDIATOR)
    assert [row["id"] for row in docket["items"]] == [opened["id"]]
    case = world.act(opened, "admit", CITY, MEDIATOR)
    assert {d["duty"]: d["due_on"] for d in case["deadlines"]} == {
        "dispute.statement": "2026-09-24",  # make-up Sunday 09-20, then Monday to Thursday
        "dispute.ruling": "2026-10-15",
    }
    case = world.act(case, "state", "health", CLERK, {"body": "我局依法需要"})
    case = world.act(case, "state", "civil", CLERK, {"body": "范围过大"})
    assert [s["party"] for s in case["statements"]] == ["requester", "provider"]

    case = ruled(world, case)
    assert case["state"] == "RULED"
    agreement = world.read("agreements", case["agreement_id"], "health", CLERK)
    assert (agreement["state"], agreement["origin"]) == ("IN_FORCE", "ruling")
    assert agreement["ruling_id"] == case["rulings"][0]["id"]
    assert agreement["consents"] == []
    assert agreement["terms"] == asked_for(world, case)
    told = world.read("disputes", case["id"], "civil", CLERK)
    assert told["rulings"][0]["reasons"] == "申请用途在职责之内，拒绝无据"

    assert world.sweep_at(datetime.fromisoformat("2026-10-09T23:00:00+08:00")) == 0
    world.sweep_at(world.clocks(case["id"])["dispute.review"].due_at)
    assert world.read("disputes", case["id"], "health")["state"] == "FINAL"
    assert world.read("agreements", agreement["id"], "health")["state"] == "IN_FORCE"


class TestWhoDecides:
    def test_across_a_district_border_the_common_superior(self, world: World) -> None:
        resource = world.publish("west_civil", authority="west_authority")
        case = world.filed(resource, requester="east_health", provider="west_civil")
        assert case["authority"]["id"] == str(world.town.id(CITY))
        world.read("negotiations", case["id"], "east_authority", MEDIATOR, expect=404)

    def test_between_two_of_the_same_district_its_own(self, world: World) -> None:
        resource = world.publish("east_authority", authority="east_authority")
        case = world.filed(resource, requester="east_health", provider="east_authority")
        # …unless that authority is itself a party: then the one above.
        assert case["authority"]["id"] == str(world.town.id(CITY))

    def test_a_mediator_whose_agency_is_a_party_is_refused(self, world: World) -> None:
        resource = world.publish("east_authority", authority="east_authority")
        case = world.filed(resource, requester="east_health", provider="east_authority")
        body = {"ground": "exceeds_need", "reason": "范围过大"}
        world.act(case, "refuse", "east_authority", APPROVER, body)
        case = world.read("negotiations", case["id"], "east_health")
        opened = world.act(case, "open_dispute", "east_health", APPROVER, {"reason": "不服"}, expect=201)
        problem = world.act(opened, "admit", "east_authority", MEDIATOR, expect=403)
        assert slug(problem) == "conflict-of-interest"
        assert world.act(opened, "admit", CITY, MEDIATOR)["state"] == "HEARING"

    def test_another_authority_s_mediator_is_told_nothing(self, world: World) -> None:
        dispute = world.disputed()
        world.read("disputes", dispute["id"], "east_authority", MEDIATOR, expect=404)
        world.read("disputes", dispute["id"], "market", APPROVER, expect=404)
        world.read("disputes", dispute["id"], "province_authority", Role.AUDIT_ADMINISTRATOR)

    def test_a_party_s_approver_does_not_rule(self, world: World) -> None:
        case = drafted(world, world.disputed())
        body = {"ruling_id": case["rulings"][0]["id"]}
        world.act(case, "rule", "health", APPROVER, body, expect=403)


class TestRuling:
    def test_who_drafts_does_not_sign(self, world: World) -> None:
        case = drafted(world, world.disputed())
        assert "rule" not in case["allowed"]
        body = {"ruling_id": case["rulings"][0]["id"]}
        problem = world.act(case, "rule", CITY, MEDIATOR, body, expect=403)
        assert slug(problem) == "same-hand"
        assert world.session.scalar(select(func.count()).select_from(Agreement)) == 0
        assert world.act(case, "rule", CITY, MEDIATOR, body, number=2)["state"] == "RULED"

    def test_is_not_signed_unread(self, world: World) -> None:
        case = drafted(world, world.disputed())
        first = case["rulings"][0]["id"]
        case = drafted(world, case, "deny")
        world.act(case, "rule", CITY, MEDIATOR, {"ruling_id": first}, number=2, expect=409)

    def test_drafts_are_the_authority_s_own(self, world: World) -> None:
        case = drafted(world, world.disputed())
        assert len(case["rulings"]) == 1
        assert world.read("disputes", case["id"], "health")["rulings"] == []
        told = world.call("GET", f"/disputes/{case['id']}/events", "civil", CLERK)
        assert [e["act"] for e in told] == ["open", "admit"]
        versions = world.call("GET", f"/negotiations/{case['negotiation_id']}/versions", "civil", CLERK)
        assert [v["number"] for v in versions] == [1]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"outcome": "grant"}, "/terms"),
            ({"outcome": "remand"}, "/directions"),
            ({"outcome": "perhaps"}, "/outcome"),
        ],
    )
    def test_must_be_whole(self, world: World, body: Json, field: str) -> None:
        dispute = world.disputed()
        whole = {"reasons": "理由", "legal_basis": "REG-21", **body}
        problem = world.act(dispute, "draft_ruling", CITY, MEDIATOR, whole, expect=422)
        assert [fault["field"] for fault in problem["errors"]] == [field]
        missing = {"outcome": "deny", "legal_basis": "REG-21"}
        world.act(dispute, "draft_ruling", CITY, MEDIATOR, missing, expect=422)

    def test_cannot_grant_what_the_provider_does_not_hold(self, world: World) -> None:
        dispute = world.disputed()
        foreign = terms(world.publish("market"))
        body = {"outcome": "grant", "reasons": "理由", "legal_basis": "REG-21", "terms": foreign}
        world.act(dispute, "draft_ruling", CITY, MEDIATOR, body, expect=422)

    def test_denied_leaves_no_agreement(self, world: World) -> None:
        case = ruled(world, world.disputed(), "deny")
        assert (case["state"], case["agreement_id"]) == ("RULED", None)
        asks = world.read(
            "disputes", case["id"], "health"
        )  # nothing, with which the provider could fail to comply
        assert "report_noncompliance" not in asks["allowed"]

    def test_remand_opens_a_new_negotiation_when_final(self, world: World) -> None:
        case = ruled(world, world.disputed(), "remand", directions="缩小范围后十日内重新协商")
        assert world.session.scalar(select(func.count()).select_from(Negotiation)) == 1
        world.sweep_at(world.clocks(case["id"])["dispute.review"].due_at)
        rows = world.call("GET", "/negotiations?waiting=true", "civil", APPROVER)["items"]
        assert len(rows) == 1
        again = world.read("negotiations", rows[0]["id"], "civil")
        assert again["follows_id"] == case["negotiation_id"]
        assert again["directions"] == "缩小范围后十日内重新协商"
        done = world.act(again, "agree", "civil", APPROVER, to(again["terms"]))
        assert done["state"] == "FINALIZED"

    def test_the_database_keeps_signed_rulings_and_two_hands(self, world: World) -> None:
        case = drafted(world, world.disputed())
        ruling = world.session.get_one(Ruling, UUID(case["rulings"][0]["id"]))
        sign = text("UPDATE ruling SET signed_by = :p, signed_at = now()")
        with pytest.raises(DBAPIError, match="two_mediators"), world.session.begin_nested():
            world.session.execute(sign, {"p": ruling.drafted_by})
        world.act(case, "rule", CITY, MEDIATOR, {"ruling_id": case["rulings"][0]["id"]}, number=2)
        for statement in ("UPDATE ruling SET reasons = 'x'", "DELETE FROM ruling"):
            with pytest.raises(DBAPIError, match="never changed"), world.session.begin_nested():
                world.session.execute(text(statement))


class TestProposal:
    def proposed(self, world: World) -> Json:
        dispute = world.disputed()
        body = {"terms": {**asked_for(world, dispute), "retention_days": 7}, "reason": "折中方案"}
        case: Json = world.act(dispute, "propose", CITY, MEDIATOR, body)
        return case

    def test_accepted_by_both_is_a_negotiated_agreement(self, world: World) -> None:
        case = self.proposed(world)
        case = world.act(case, "accept", "health", APPROVER, to(case["proposal"]))
        assert (case["state"], "accept" in case["allowed"]) == ("PROPOSED", False)
        world.act(case, "accept", "health", APPROVER, to(case["proposal"]), expect=409)
        case = world.act(case, "accept", "civil", APPROVER, to(case["proposal"]))
        assert (case["state"], case["deadlines"]) == ("SETTLED", [])
        agreement = world.read("agreements", case["agreement_id"], "civil")
        assert (agreement["origin"], agreement["terms"]["retention_days"]) == ("negotiated", 7)
        assert len(agreement["consents"]) == 2

    def test_declined_by_one_goes_back_to_the_hearing(self, world: World) -> None:
        case = self.proposed(world)
        case = world.act(case, "decline_proposal", "civil", APPROVER, {"reason": "仍过大"})
        assert (case["state"], case["proposal"]) == ("HEARING", None)
        assert ruled(world, world.read("disputes", case["id"], CITY, MEDIATOR))["state"] == "RULED"


class TestReview:
    def test_stays_delivery_until_the_ruling_is_confirmed(self, world: World) -> None:
        case = ruled(world, world.disputed())
        agreement_id = case["agreement_id"]
        case = world.act(case, "ask_review", "civil", APPROVER, {"reason": "不服裁决"})
        stayed = world.read("agreements", agreement_id, "civil")
        assert (stayed["state"], stayed["suspended_by"]) == ("SUSPENDED", "ruling")
        world.act(stayed, "resume", "civil", APPROVER, {}, expect=409)
        body = {"document": "测政复〔2026〕3号", "reason": "裁决适当"}
        world.act(case, "confirm", CITY, MEDIATOR, body, expect=403)
        case = world.act(case, "confirm", CITY, APPROVER, body)
        assert case["state"] == "FINAL"
        assert world.read("agreements", agreement_id, "civil")["state"] == "IN_FORCE"

    def test_a_changed_ruling_ends_the_agreement_of_the_first(self, world: World) -> None:
        case = ruled(world, world.disputed())
        first = case["agreement_id"]
        case = world.act(case, "ask_review", "civil", APPROVER, {"reason": "不服裁决"})
        narrower = {**asked_for(world, case), "retention_days": 1}
        body = {
            "document": "测政复〔2026〕4号", "outcome": "grant_in_part", "reasons": "留存期过长",
            "legal_basis": "809-25", "terms": narrower,
        }  # fmt: skip
        case = world.act(case, "change", CITY, APPROVER, body)
        assert (case["state"], len(case["rulings"])) == ("FINAL", 2)
        assert world.read("agreements", first, "health")["state"] == "TERMINATED"
        second = world.read("agreements", case["agreement_id"], "health")
        assert (second["state"], second["terms"]["retention_days"]) == ("IN_FORCE", 1)


class TestCourse:
    def test_stalemate_after_three_rounds(self, world: World) -> None:
        resource = world.publish()
        case = world.filed(resource)
        for days in (60, 50, 40):
            assert "open_dispute" not in world.read("negotiations", case["id"], "health")["allowed"]
            case = world.offered(
                world.read("negotiations", case["id"], "civil"), terms(resource, retention_days=5)
            )
            case = world.countered(case, terms(resource, retention_days=days))
        opened = world.act(case, "open_dispute", "health", APPROVER, {"reason": "久商不决"}, expect=201)
        assert opened["cause"] == "stalemate"

    def test_only_once(self, world: World) -> None:
        dispute = world.disputed()
        case = world.read("negotiations", dispute["negotiation_id"], "health")
        world.act(case, "open_dispute", "health", APPROVER, {"reason": "再报"}, expect=409)

    def test_the_provider_does_not_open_one(self, world: World) -> None:
        case = world.refused()
        world.act(case, "open_dispute", "civil", APPROVER, {"reason": "请协调"}, expect=403)

    def test_silence_is_recorded_and_stops_nothing(self, world: World) -> None:
        case = world.disputed()
        case = world.act(case, "state", "health", CLERK, {"body": "我局依法需要"})
        world.sweep_at(world.clocks(case["id"])["dispute.statement"].due_at)
        told = world.call("GET", f"/disputes/{case['id']}/events", "health", CLERK)
        assert (told[-1]["act"], told[-1]["data"]) == ("silence", {"silent": ["provider"]})
        assert world.read("disputes", case["id"], "health")["state"] == "HEARING"
        world.sweep_at(world.clocks(case["id"])["dispute.ruling"].due_at)
        late = world.read("disputes", case["id"], CITY, MEDIATOR)
        assert (late["state"], late["overdue"]) == ("HEARING", True)
        assert ruled(world, late)["state"] == "RULED"

    def test_declined_and_withdrawn_are_closed(self, world: World) -> None:
        case = world.refused()
        opened = world.act(case, "open_dispute", "health", APPROVER, {"reason": "不服"}, expect=201)
        world.act(opened, "decline", CITY, MEDIATOR, {"reason": "超出受理范围"})
        closed = world.read("disputes", opened["id"], "health")
        assert (closed["state"], closed["closing_reason"]) == ("CLOSED", "超出受理范围")
        other = world.disputed()
        assert world.act(other, "withdraw", "health", APPROVER, {})["state"] == "CLOSED"
        assert world.clocks(other["id"]) == {}

    def test_refer_is_for_another_authority_only(self, world: World) -> None:
        case = world.refused()
        opened = world.act(case, "open_dispute", "health", APPROVER, {"reason": "不服"}, expect=201)
        world.act(opened, "refer", CITY, MEDIATOR, {"reason": "无管辖权"}, expect=422)
        move = text("UPDATE agency SET jurisdiction_id = :j WHERE id = :a")
        world.session.execute(move, {"j": world.town.places["province"].id, "a": world.town.id("civil")})
        world.act(opened, "refer", CITY, MEDIATOR, {"reason": "提供方已划归省级"})
        world.read("disputes", opened["id"], CITY, MEDIATOR, expect=404)
        referred = world.session.get_one(Dispute, UUID(opened["id"]))
        assert referred.authority_id == world.town.id("province_authority")

    def test_settled_by_the_parties_themselves(self, world: World) -> None:
        case = world.disputed()
        other = world.agreed()
        named = {"agreement_id": str(world.town.id("civil"))}
        world.act(case, "record_settlement", "health", APPROVER, named, expect=422)
        done = world.act(case, "record_settlement", "health", APPROVER, {"agreement_id": other["id"]})
        assert done["state"] == "SETTLED"
