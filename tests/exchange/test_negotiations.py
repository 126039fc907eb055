"""From a drafted request to an agreement in force: HTTP in, HTTP and database out."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from app.kernel.actor import Role
from app.kernel.ledger import LedgerEntry
from app.kernel.wire import encode_cursor
from catalog.resources import service as resources
from exchange.agreements.models import Agreement
from exchange.negotiations.models import Consent, Negotiation, TermsVersion
from exchange.negotiations.states import NEGOTIATION
from exchange.requests.models import ShareRequest
from tests.exchange.world import ITEMS, START, World, slug, terms, to

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR


def test_counter_offer_to_agreement_in_force(world: World) -> None:
    resource = world.publish()
    case = world.filed(resource, items=("name", "id_number", "registered_on"))
    assert case["state"] == "REQUESTED"
    assert case["deadlines"][0]["duty"] == "negotiation.reply.conditional"
    assert case["deadlines"][0]["due_on"] == "2026-10-09"  # golden case: 2026-09-18 + 10 WD

    masked = terms(resource, items=("name", "registered_on"))
    case = world.offered(case, masked)
    assert (case["state"], case["terms"]["party"], case["draft"]) == ("OFFERED", "provider", None)

    case = world.read("negotiations", case["id"], "health")
    wanted = terms(resource, items=("name", "registered_on"), retention_days=90)
    case = world.countered(case, wanted)
    assert (case["state"], case["rounds"]) == ("REQUESTED", 1)

    case = world.read("negotiations", case["id"], "civil")
    assert "agree" in case["allowed"]
    done = world.act(case, "agree", "civil", APPROVER, to(case["terms"]))
    assert done["state"] == "FINALIZED"
    assert done["allowed"] == done["deadlines"] == []

    agreement = world.read("agreements", done["agreement_id"], "health", CLERK)
    assert agreement["origin"] == "negotiated"
    assert agreement["terms"]["retention_days"] == 90
    assert agreement["terms_hash"] == case["terms"]["terms_hash"]
    assert {c["party"]: c["kind"] for c in agreement["consents"]} == {
        "requester": "approver",
        "provider": "approver",
    }
    assert [d["duty"] for d in agreement["deadlines"]] == ["agreement.supply"]
    assert world.events("negotiation", case["id"]) == [
        "file", "draft_terms", "offer", "draft_terms", "counter_offer", "agree", "verify", "finalize",
    ]  # fmt: skip
    told = [e["act"] for e in world.call("GET", f"/negotiations/{case['id']}/events", "civil", CLERK)]
    assert told.count("draft_terms") == 1  # its own; the requester's drafting is not told
    ledgered = select(func.count()).where(LedgerEntry.subject_id == UUID(case["id"]))
    assert world.session.scalar(ledgered) == 8


def test_accepted_offer_is_confirmed_by_the_provider(world: World) -> None:
    resource = world.publish()
    case = world.offered(world.filed(resource), terms(resource, items=("name",)))
    case = world.act(case, "accept", "health", APPROVER, to(case["terms"]))
    assert (case["state"], case["deadlines"][0]["duty"]) == ("ACCEPTED", "negotiation.confirm")
    done = world.act(case, "agree", "civil", APPROVER, to(case["terms"]))
    assert done["state"] == "FINALIZED"
    agreement = world.session.get_one(Agreement, UUID(done["agreement_id"]))
    assert [part["items"] for part in agreement.terms["resources"]] == [
        [{"code": "name", "mask": {"kind": "none"}, "filter_on_masked": False}]
    ]


def test_one_request_becomes_a_negotiation_for_each_provider(world: World) -> None:
    of_civil, of_market, also_civil = world.publish("civil"), world.publish("market"), world.publish("civil")
    body = {"title": "跨部门核验", "terms": terms(of_civil, of_market, also_civil)}
    drafted = world.call("POST", "/requests", "health", CLERK, body=body, expect=201)
    filed = world.act(drafted, "file", "health", APPROVER)
    assert filed["state"] == "FILED"
    assert len(filed["negotiations"]) == 2
    asked = {}
    for row in world.session.scalars(select(Negotiation)):
        version = world.session.get_one(TermsVersion, row.current_terms_id)
        asked[row.provider_id] = {part.resource_id for part in version.typed.resources}
    assert asked == {world.town.id("civil"): {of_civil, also_civil}, world.town.id("market"): {of_market}}
    ref = next(n for n in filed["negotiations"] if n["provider"]["id"] == str(world.town.id("market")))
    world.read("negotiations", ref["id"], "civil", expect=404)


class TestTermsAreChecked:
    def refused(self, world: World, body: dict) -> list[dict]:  # type: ignore[type-arg]
        before = world.session.scalar(select(func.count()).select_from(ShareRequest))
        request = {"title": "申请", "terms": body}
        problem = world.call("POST", "/requests", "health", CLERK, body=request, expect=422)
        assert world.session.scalar(select(func.count()).select_from(ShareRequest)) == before
        faults: list[dict] = problem["errors"]  # type: ignore[type-arg]
        return faults

    def test_an_unknown_item(self, world: World) -> None:
        (fault,) = self.refused(world, terms(world.publish(), items=("name", "salary")))
        assert fault["field"] == "/terms/resources/0/items/1/code"
        assert "salary" in fault["message"]

    def test_a_resource_that_is_not_shared_names_the_article(self, world: World) -> None:
        faults = self.refused(world, terms(world.publish(sharing="not_shared")))
        assert any("809" in fault.get("rule", "") for fault in faults)

    def test_an_item_that_is_not_shared(self, world: World) -> None:
        items = [*ITEMS[:3], {**ITEMS[3], "sharing_type": "not_shared"}]
        resource = world.publish(items=items)
        (fault,) = self.refused(world, terms(resource, items=("name", "amount")))
        assert fault["field"] == "/terms/resources/0/items/1/code"

    def test_one_s_own_resource(self, world: World) -> None:
        (fault,) = self.refused(world, terms(world.publish("health")))
        assert fault["field"] == "/terms/resources/0/resource_id"

    def test_a_purpose_without_legal_basis(self, world: World) -> None:
        purpose = {"code": "x", "text": "用", "business_matter": "事项", "legal_basis": " "}
        (fault,) = self.refused(world, terms(world.publish(), purposes=[purpose]))
        assert fault["field"] == "/terms/purposes/0/legal_basis"

    def test_a_last_day_that_has_passed(self, world: World) -> None:
        body = terms(world.publish(), valid_from="2026-01-01", valid_until="2026-09-17")
        (fault,) = self.refused(world, body)
        assert fault["field"] == "/terms/valid_until"
        (fault,) = self.refused(world, terms(world.publish(), valid_until="9999-12-31"))
        assert fault["field"] == "/terms/valid_until"

    def test_an_offer_over_another_provider_s_resource(self, world: World) -> None:
        case = world.filed(world.publish())
        foreign = {"terms": terms(world.publish("market"))}
        problem = world.act(case, "draft_terms", "civil", CLERK, foreign, expect=422)
        assert problem["errors"][0]["field"] == "/terms/resources/0/resource_id"
        assert world.read("negotiations", case["id"], "civil")["version"] == case["version"]


class TestConsent:
    def test_who_wrote_the_request_does_not_file_it(self, world: World) -> None:
        resource = world.publish()
        both = world.town.headers("health", CLERK, APPROVER)
        body = {"title": "申请", "terms": terms(resource)}
        drafted = world.client.post("/api/v1/requests", json=body, headers=both)
        assert drafted.status_code == 201
        assert "file" not in drafted.json()["allowed"]
        path = f"/api/v1/requests/{drafted.json()['id']}/file"
        refused = world.client.post(path, headers={**both, "if-match": '"1"'})
        assert (refused.status_code, slug(refused.json())) == (403, "same-hand")
        assert world.session.scalar(select(func.count()).select_from(Negotiation)) == 0
        assert world.act(drafted.json(), "file", "health", APPROVER)["state"] == "FILED"

    def test_who_drafted_an_offer_does_not_make_it(self, world: World) -> None:
        resource = world.publish()
        case = world.filed(resource)
        both = world.town.headers("civil", CLERK, APPROVER)
        path = f"/api/v1/negotiations/{case['id']}"
        body = {"terms": terms(resource, items=("name",))}
        drafted = world.client.post(
            f"{path}/draft_terms", json=body, headers={**both, "if-match": '"1"'}
        ).json()
        refused = world.client.post(
            f"{path}/offer", json=to(drafted["draft"]), headers={**both, "if-match": '"2"'}
        )
        assert (refused.status_code, slug(refused.json())) == (403, "same-hand")
        offered = world.act(drafted, "offer", "civil", APPROVER, to(drafted["draft"]))
        assert offered["state"] == "OFFERED"

    def test_consent_is_to_the_hash_that_was_read(self, world: World) -> None:
        case = world.filed(world.publish())
        problem = world.act(case, "agree", "civil", APPROVER, {"terms_hash": "0" * 64}, expect=409)
        assert slug(problem) == "other-terms"
        assert world.session.scalar(select(func.count()).select_from(Agreement)) == 0

    def test_a_clerk_does_not_agree(self, world: World) -> None:
        case = world.filed(world.publish())
        world.act(case, "agree", "civil", CLERK, to(case["terms"]), expect=403)
        world.act(case, "agree", "health", APPROVER, to(case["terms"]), expect=403)

    def test_the_database_refuses_consent_by_the_author(self, world: World) -> None:
        case = world.filed(world.publish())
        version = world.session.get_one(TermsVersion, UUID(case["terms"]["id"]))
        world.session.add(
            Consent(
                terms_version_id=version.id, party="provider", kind="approver", person_id=version.author_id,
                terms_hash=version.terms_hash,
            )
        )  # fmt: skip
        with pytest.raises(DBAPIError, match="by their author"), world.session.begin_nested():
            world.session.flush()


class TestUnconditional:
    def test_is_agreed_by_policy_with_the_filing(self, world: World) -> None:
        case = world.filed(world.publish(sharing="unconditional"))
        assert case["state"] == "FINALIZED"
        agreement = world.read("agreements", case["agreement_id"], "health")
        assert agreement["origin"] == "policy"
        assert {c["party"]: (c["kind"], c["person_id"] is None) for c in agreement["consents"]} == {
            "requester": ("approver", False), "provider": ("policy", True),
        }  # fmt: skip

    def test_an_item_on_conditions_makes_it_conditional(self, world: World) -> None:
        items = [*ITEMS[:3], {**ITEMS[3], "sharing_type": "conditional"}]
        resource = world.publish(sharing="unconditional", items=items)
        case = world.filed(resource, items=("name", "amount"))
        assert (case["state"], case["sharing"]) == ("REQUESTED", "conditional")
        assert world.filed(resource, items=("name",))["state"] == "FINALIZED"

    def test_a_counter_offer_that_asks_for_more_is_conditional(self, world: World) -> None:
        items = [
            *ITEMS[:3],
            {**ITEMS[3], "sharing_type": "conditional"},
            {**ITEMS[0], "code": "x", "sensitive": True},
        ]
        resource = world.publish(sharing="unconditional", items=items)
        case = world.filed(resource, items=("x",))
        assert case["sharing"] == "unconditional"
        case = world.offered(case, terms(resource, items=("registered_on",)))
        case = world.countered(case, terms(resource, items=("registered_on", "amount")))
        assert case["sharing"] == "conditional"
        assert [d["duty"] for d in case["deadlines"]] == ["negotiation.reply.conditional"]
        case = world.offered(
            world.read("negotiations", case["id"], "civil"), terms(resource, items=("name",))
        )
        assert case["sharing"] == "conditional"  # what is offered does not change what was asked for

    def test_silence_gives_nothing_that_has_left_the_catalog(self, world: World) -> None:
        items = [{**ITEMS[0], "sensitive": True}, *ITEMS[1:]]
        resource = world.publish(sharing="unconditional", items=items)
        case = world.filed(resource)
        row = resources.find(world.session, resource, by=world.town.actor("civil", APPROVER))
        by = world.town.actor("city_authority", Role.CATALOG_ADMINISTRATOR)
        resources.take_out(world.session, row, "suspend", reason="核实", expected_version=row.version, by=by)
        assert world.sweep_at(datetime.fromisoformat("2026-09-21T00:00:00+08:00")) == 1
        late = world.read("negotiations", case["id"], "health")
        assert (late["state"], late["overdue"]) == ("REQUESTED", True)
        world.act(late, "agree", "civil", APPROVER, to(late["terms"]), expect=422)

    def test_sensitive_items_wait_for_a_person_and_silence_agrees(self, world: World) -> None:
        items = [{**ITEMS[0], "sensitive": True}, *ITEMS[1:]]
        case = world.filed(world.publish(sharing="unconditional", items=items))
        assert case["state"] == "REQUESTED"
        assert case["deadlines"][0]["due_on"] == "2026-09-20"  # 1 WD: a make-up Sunday
        assert world.sweep_at(datetime.fromisoformat("2026-09-20T23:59:59+08:00")) == 0
        assert world.sweep_at(datetime.fromisoformat("2026-09-21T00:00:00+08:00")) == 1
        case = world.read("negotiations", case["id"], "health")
        assert case["state"] == "FINALIZED"
        agreement = world.read("agreements", case["agreement_id"], "health")
        assert {c["party"]: c["kind"] for c in agreement["consents"]}["provider"] == "deemed"
        assert world.events("negotiation", case["id"])[1:] == ["deem_consent", "verify", "finalize"]
        assert world.sweep_at(datetime.fromisoformat("2026-09-21T00:00:00+08:00")) == 0


class TestClocks:
    def test_silence_on_a_conditional_resource_opens_the_way_to_dispute(self, world: World) -> None:
        case = world.filed(world.publish())
        early = world.read("negotiations", case["id"], "health")
        assert "open_dispute" not in early["allowed"]
        world.act(early, "open_dispute", "health", APPROVER, {"reason": "未答复"}, expect=409)
        assert world.sweep_at(world.clocks(case["id"])["negotiation.reply.conditional"].due_at) == 1
        late = world.read("negotiations", case["id"], "health")
        assert (late["state"], late["overdue"], late["deadlines"]) == ("REQUESTED", True, [])
        assert "open_dispute" in late["allowed"]
        dispute = world.act(late, "open_dispute", "health", APPROVER, {"reason": "未答复"}, expect=201)
        assert dispute["cause"] == "overdue"
        after = world.read("negotiations", case["id"], "health")
        assert (after["state"], after["termination_reason"]) == ("TERMINATED", "disputed")

    def test_an_offer_nobody_answers_is_reminded_of_then_lapses(self, world: World) -> None:
        resource = world.publish()
        case = world.offered(world.filed(resource), terms(resource, items=("name",)))
        assert world.sweep_at(world.clocks(case["id"])["negotiation.respond"].due_at) == 1
        assert world.read("negotiations", case["id"], "health")["state"] == "OFFERED"
        assert world.sweep_at(world.clocks(case["id"])["negotiation.respond"].due_at) == 1
        lapsed = world.read("negotiations", case["id"], "health")
        assert (lapsed["state"], lapsed["termination_reason"]) == ("TERMINATED", "lapsed")
        assert world.clocks(case["id"]) == {}

    def test_a_confirmation_that_fails_to_come(self, world: World) -> None:
        resource = world.publish()
        case = world.offered(world.filed(resource), terms(resource, items=("name",)))
        case = world.act(case, "accept", "health", APPROVER, to(case["terms"]))
        world.sweep_at(world.clocks(case["id"])["negotiation.confirm"].due_at)
        late = world.read("negotiations", case["id"], "health")
        assert (late["state"], late["overdue"]) == ("ACCEPTED", True)
        assert "open_dispute" in late["allowed"]

    def test_missing_material_stops_the_clock_once(self, world: World) -> None:
        case = world.filed(world.publish())
        with world.at(
            datetime.fromisoformat("2026-09-21T09:00:00+08:00")
        ):  # 1 of 10 WD used on make-up Sunday…
            case = world.act(case, "ask_material", "civil", CLERK, {"reason": "请补充法律依据全文"})
            assert case["deadlines"][0]["paused"]
        assert world.sweep_at(datetime.fromisoformat("2026-12-01T00:00:00+08:00")) == 0
        with world.at(datetime.fromisoformat("2026-10-12T09:00:00+08:00")):
            case = world.read("negotiations", case["id"], "health", CLERK)
            assert "supply_material" in case["allowed"]
            case = world.act(case, "supply_material", "health", CLERK, {"reason": "已补充"})
            assert not case["deadlines"][0]["paused"]
            # Used: 09-20 (make-up Sunday) and 09-21; the 8 left run from 10-12.
            assert case["deadlines"][0]["due_on"] == "2026-10-22"
            world.act(case, "ask_material", "civil", CLERK, {"reason": "再补"}, expect=409)

    def test_extension_needs_the_authority(self, world: World) -> None:
        case = world.filed(world.publish())
        ask = {"working_days": 5, "reason": "数据量大"}
        world.act(case, "ask_extension", "civil", APPROVER, {**ask, "working_days": 11}, expect=422)
        case = world.act(case, "ask_extension", "civil", APPROVER, ask)
        assert case["deadlines"][0]["due_on"] == "2026-10-09"
        waiting = world.call("GET", "/negotiations?waiting=true", "city_authority", MEDIATOR)
        assert [row["id"] for row in waiting["items"]] == [case["id"]]
        world.act(case, "extend", "civil", APPROVER, {}, expect=403)
        case = world.act(case, "extend", "city_authority", MEDIATOR, {})
        assert case["deadlines"][0]["due_on"] == "2026-10-15"  # 10-10 is a make-up Saturday
        world.act(case, "ask_extension", "civil", APPROVER, ask, expect=409)


class TestRefusal:
    def test_carries_ground_reason_basis_and_a_narrower_offer(self, world: World) -> None:
        resource = world.publish()
        case = world.filed(resource)
        body = {"ground": "exceeds_need", "reason": "只需姓名", "narrower": terms(resource, items=("name",))}
        world.act(case, "refuse", "civil", APPROVER, body)
        told = world.read("negotiations", case["id"], "health", CLERK)
        assert (told["state"], told["termination_reason"]) == ("TERMINATED", "refused")
        assert told["refusal"]["ground"] == "exceeds_need"
        assert told["refusal"]["legal_basis"] == "809-25"
        assert [item["code"] for item in told["narrower"]["terms"]["resources"][0]["items"]] == ["name"]
        again = world.call(
            "POST", "/requests", "health", CLERK, body={"title": "按缩小范围", "terms": told["narrower"]["terms"]}, expect=201
        )  # fmt: skip
        assert again["state"] == "DRAFT"

    def test_needs_a_coded_ground_and_a_reason(self, world: World) -> None:
        case = world.filed(world.publish())
        grounds = world.call("GET", "/negotiations/grounds", "civil", APPROVER)
        assert {"exceeds_need", "data_absent", "not_shared_by_law"} <= {g["code"] for g in grounds}
        problem = world.act(
            case, "refuse", "civil", APPROVER, {"ground": "because", "reason": "不"}, expect=422
        )
        assert problem["errors"][0]["field"] == "/ground"
        world.act(case, "refuse", "civil", APPROVER, {"ground": "data_absent"}, expect=422)
        assert world.read("negotiations", case["id"], "civil")["state"] == "REQUESTED"


def test_withdrawn_before_the_reply(world: World) -> None:
    case = world.filed(world.publish())
    world.act(case, "withdraw", "health", CLERK, {"reason": "不再需要"})
    case = world.read("negotiations", case["id"], "civil")
    assert (case["state"], case["termination_reason"], case["allowed"]) == ("TERMINATED", "withdrawn", [])
    world.act(case, "agree", "civil", APPROVER, to(case["terms"]), expect=409)


def test_a_draft_is_its_own_side_s_until_it_is_offered(world: World) -> None:
    resource = world.publish()
    case = world.filed(resource)
    case = world.act(case, "draft_terms", "civil", CLERK, {"terms": terms(resource, items=("name",))})
    assert case["draft"]["number"] == 2
    other = world.read("negotiations", case["id"], "health")
    assert other["draft"] is None
    path = f"/negotiations/{case['id']}"
    assert [v["number"] for v in world.call("GET", f"{path}/versions", "health", CLERK)] == [1]
    world.call("GET", f"{path}/changes?before=1&after=2", "health", CLERK, expect=404)
    world.act(case, "offer", "civil", APPROVER, to(case["draft"]))
    changes = world.call("GET", f"{path}/changes?before=1&after=2", "health", CLERK)
    assert [(c["kind"], c["path"].rsplit("/", 1)[1]) for c in changes] == [("removed", "registered_on")]
    assert changes[0]["label"] == {
        "zh": "信息项“登记日期”",
        "en": "Item “登记日期”",
    }  # it has no English name


def test_strangers_are_told_nothing(world: World) -> None:
    case = world.filed(world.publish())
    for role in (CLERK, APPROVER):
        unknown = world.call("GET", f"/negotiations/{world.town.id('market')}", "market", role, expect=404)
        hidden = world.read("negotiations", case["id"], "market", role, expect=404)
        assert {**hidden, "instance": "", "request_id": ""} == {**unknown, "instance": "", "request_id": ""}
        world.act(case, "agree" if role is APPROVER else "draft_terms", "market", role,
                  to(case["terms"]) if role is APPROVER else {"terms": case["terms"]["terms"]}, expect=404)  # fmt: skip
        assert world.call("GET", "/negotiations", "market", role)["items"] == []
    world.read("negotiations", case["id"], "east_authority", MEDIATOR, expect=404)
    world.read("negotiations", case["id"], "city_authority", MEDIATOR)
    world.read("negotiations", case["id"], "province_authority", Role.AUDIT_ADMINISTRATOR)
    world.read("negotiations", case["id"], "east_authority", Role.AUDIT_ADMINISTRATOR, expect=404)
    assert world.client.get(f"/api/v1/negotiations/{case['id']}").status_code == 401


def test_versions_guard_every_act(world: World) -> None:
    case = world.filed(world.publish())
    world.act(case, "agree", "civil", APPROVER, to(case["terms"]), version=None, expect=428)
    stale = world.act(case, "agree", "civil", APPROVER, to(case["terms"]), version=99, expect=412)
    assert stale["current_version"] == case["version"]


def test_waiting_lists_follow_the_turn(world: World) -> None:
    resource = world.publish()
    case = world.filed(resource)

    def waiting(agency: str) -> list[str]:
        return [row["id"] for row in world.call("GET", "/negotiations?waiting=true", agency, CLERK)["items"]]

    assert (waiting("civil"), waiting("health")) == ([case["id"]], [])
    world.offered(case, terms(resource, items=("name",)))
    assert (waiting("civil"), waiting("health")) == ([], [case["id"]])


def test_lists_page_by_cursor(world: World) -> None:
    resource = world.publish()
    filed = [world.filed(resource)["id"] for _ in range(3)]
    first = world.call("GET", "/negotiations?limit=2", "civil", CLERK)
    second = world.call("GET", f"/negotiations?limit=2&cursor={first['next']}", "civil", CLERK)
    assert [row["id"] for row in (*first["items"], *second["items"])] == filed[::-1]
    assert second["next"] is None
    for broken in ("x", encode_cursor("not an id"), encode_cursor(1, 2)):
        world.call("GET", f"/negotiations?cursor={broken}", "civil", CLERK, expect=422)


def test_transfer_to_the_agency_that_holds_the_data(world: World) -> None:
    resource = world.publish()
    case = world.filed(resource)
    body = {"to_agency_id": str(world.town.id("market")), "reason": "职责划转"}
    world.act(case, "transfer", "civil", CLERK, body, expect=422)
    world.session.execute(
        text("UPDATE resource SET agency_id = :a WHERE id = :r"),
        {"a": world.town.id("market"), "r": resource},
    )
    world.act(case, "transfer", "civil", CLERK, body)
    world.read("negotiations", case["id"], "civil", expect=404)
    moved = world.read("negotiations", case["id"], "market")
    assert (moved["state"], moved["provider"]["id"]) == ("REQUESTED", str(world.town.id("market")))


@pytest.mark.parametrize(
    "target", sorted(set(NEGOTIATION.states) - {"REQUESTED", "OFFERED", "AGREED", "TERMINATED"})
)
def test_the_database_refuses_moves_the_table_does_not_hold(world: World, target: str) -> None:
    case = world.filed(world.publish())
    statement = text("UPDATE negotiation SET state = :s WHERE id = :id")
    with pytest.raises(DBAPIError, match="cannot move"), world.session.begin_nested():
        world.session.execute(statement, {"s": target, "id": UUID(case["id"])})


def test_the_topmost_authority_asks_and_is_asked_though_nobody_stands_above(world: World) -> None:
    top = "province_authority"
    asking = world.filed(world.publish(), requester=top)
    asked = world.filed(world.publish(top, authority=top), provider=top)
    for case in (asking, asked):
        assert case["authority"]["id"] == str(world.town.id(top))
    world.read("negotiations", asked["id"], top)


def test_terms_and_consents_are_never_changed(world: World) -> None:
    world.filed(world.publish())
    for statement in (
        "UPDATE terms_version SET terms_hash = 'x'",
        "DELETE FROM terms_version",
        "UPDATE consent SET party = 'provider'",
        "DELETE FROM consent",
    ):
        with pytest.raises(DBAPIError, match="never changed"), world.session.begin_nested():
            world.session.execute(text(statement))


def test_everything_happened_on_the_day_the_clock_shows(world: World) -> None:
    case = world.filed(world.publish())
    assert datetime.fromisoformat(case["created_at"]) == START
