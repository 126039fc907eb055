"""The console: every page in both languages for whom it is, nothing for strangers, and a share from request to
agreement through forms alone."""

from __future__ import annotations

import gzip
import re

import pytest
from fastapi.routing import APIRoute

from app.console.install import ROUTERS
from app.identity import sessions
from app.identity.permissions import operations_of
from app.kernel import ledger
from app.kernel.actor import Role
from catalog.collection import service as plans
from catalog.collection.record import PlanRecord
from tests.console.conftest import Browser, Desks

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR


def test_home_of_nobody_is_the_open_catalog(desks: Desks) -> None:
    browser = desks.browser()
    assert "开放数据目录" in browser.open("/")
    assert "Open catalog" in browser.open("/", language="en")
    assert browser.open("/catalog?q=婚姻&sharing_type=conditional&theme=public_service")


def test_a_page_that_needs_a_person_leads_to_sign_in_and_back(desks: Desks) -> None:
    browser = desks.browser()
    browser.open("/negotiations?waiting=true")
    assert browser.address == "/sign-in"
    assert 'name="next" value="/negotiations?waiting=true"' in browser.page
    person = desks.world.town.person("civil", CLERK)
    browser.send("/sign-in", expect=401, login=person.login, secret="wrong")
    assert "登录名或口令不正确" in browser.page
    desks.of("civil", CLERK)
    held = desks.of("civil", CLERK)
    held.send("/password", expect=422, password="simple", again="simple")
    held.send("/password", password="Correct-horse-9", again="Correct-horse-9")
    browser.send("/sign-in", login=person.login, secret="Correct-horse-9")
    assert browser.address == "/negotiations"


@pytest.mark.parametrize("elsewhere", ["//evil.example/", "https://evil.example/", "/\\evil.example"])
def test_sign_in_leads_nowhere_else(desks: Desks, elsewhere: str) -> None:
    browser = desks.browser()
    browser.open(f"/sign-in?next={elsewhere}")
    assert 'name="next" value="/"' in browser.page


def test_a_dead_cookie_does_not_lock_its_owner_out(desks: Desks) -> None:
    browser = desks.of("civil", CLERK)
    browser.client.cookies.set(sessions.HOST_COOKIE, "zts_gone", domain="share.test", path="/")
    browser.open("/")
    assert browser.address == "/sign-in"
    assert sessions.HOST_COOKIE not in browser.client.cookies


def test_another_sites_form_does_nothing(desks: Desks) -> None:
    browser = desks.of("civil", CLERK)
    for address in ("/sign-out", "/sign-in"):
        answer = browser.client.post(
            address, headers={"sec-fetch-site": "cross-site"}, follow_redirects=False
        )
        assert answer.status_code == 403, address
    assert "退出" in browser.open("/")


def test_signing_out_ends_the_session(desks: Desks) -> None:
    browser = desks.of("civil", CLERK)
    held = browser.client.cookies[sessions.HOST_COOKIE]
    browser.open("/")
    browser.send("/sign-out")
    browser.client.cookies.set(sessions.HOST_COOKIE, held, domain="share.test", path="/")
    browser.open("/negotiations")
    assert browser.address == "/sign-in"


def test_the_language_is_kept(desks: Desks) -> None:
    browser = desks.browser()
    assert 'lang="zh-CN"' in browser.open("/catalog")
    assert '<html lang="en">' in browser.open("/catalog?lang=en")
    assert '<html lang="en">' in browser.open("/ledger")
    assert '<html lang="zh-CN">' in browser.open("/ledger?lang=zh-CN")


def test_what_is_not_there_is_a_page_for_people_and_json_for_programs(desks: Desks) -> None:
    browser = desks.of("civil", CLERK)
    browser.open("/no-such-page", expect=404)
    assert "没有找到" in browser.page
    assert "回到首页" in browser.page
    answer = browser.client.get("/api/v1/agreements/no", headers={"accept": "text/html"})
    assert answer.headers["content-type"] == "application/problem+json"
    answer = browser.client.get("/no-such-page", headers={"accept": "application/json"})
    assert answer.headers["content-type"] == "application/problem+json"


def test_pages_need_nothing_from_elsewhere_and_no_script(desks: Desks) -> None:
    browser = desks.of("civil", CLERK)
    page = browser.open("/")
    sent = len(gzip.compress(page.encode()))
    for address in re.findall(r'<(?:link|script|img|iframe)[^>]*(?:href|src)="([^"]+)"', page):
        assert address.startswith("/static/")
        sent += len(gzip.compress(browser.client.get(address).content))
    assert sent < 60_000
    assert re.findall(r"<script[^>]*>(?!</script>)", page) == []  # none that stands in the page itself
    assert not re.search(r"\s(?:style|on[a-z]+)=", page)
    style = browser.client.get("/static/zt.css")
    assert (style.status_code, style.headers["cache-control"]) == (200, "public, max-age=604800")
    assert len(style.content) < 24_000
    assert "http" not in style.text


def case_number(browser: Browser, kind: str) -> str:
    found = re.search(rf"/{kind}/([0-9a-f-]{{36}})", browser.page)
    assert found, f"no {kind} on the page"
    return f"/{kind}/{found[1]}"


def drafted(desks: Desks) -> tuple[str, str]:
    """A request drafted through the form: its address and the resource's."""
    resource = desks.world.publish()
    clerk = desks.of("health", CLERK)
    assert "/requests/new?resource=" in clerk.open(f"/catalog/{resource}")
    clerk.open(f"/requests/new?resource={resource}")
    chosen = {
        "title": "核验登记信息", f"item.{resource}": ["name", "id_number"], "purpose_text": "核验",
        "purpose_business_matter": "生育服务登记", "purpose_legal_basis": "某条例第八条",
    }  # fmt: skip
    clerk.send("/requests/new", {**chosen, "rows_per_call": "999999999"}, expect=422)
    assert "单次行数超过每日行数" in clerk.page
    assert clerk.fields("/requests/new")["purpose_business_matter"] == ["生育服务登记", ""]
    clerk.send("/requests/new", {**chosen, "rows_per_call": "100"})
    return clerk.address, f"/catalog/{resource}"


def test_a_share_from_request_to_agreement_through_pages_alone(desks: Desks) -> None:
    request, resource = drafted(desks)
    assert "/file" not in desks.of("health", CLERK).page
    approver = desks.of("health", APPROVER)
    assert request in approver.open("/")
    approver.open(request)
    approver.send(f"{request}/file")
    assert "已办理：审核并提出" in approver.page
    negotiation = case_number(approver, "negotiations")

    clerk = desks.of("civil", CLERK)
    assert negotiation in clerk.open("/")
    assert "还有 10 个工作日" in clerk.page
    clerk.open(negotiation)
    number = resource.rsplit("/", maxsplit=1)[1]
    offered = {f"mask.{number}.id_number": "last_n", f"parameter.{number}.id_number": "4"}
    clerk.send(f"{negotiation}/draft_terms", offered)
    assert "仅留末 4 位" in clerk.page
    assert "由本单位的审核人办理" in clerk.page
    provider = desks.of("civil", APPROVER)
    provider.open(negotiation)
    provider.send(f"{negotiation}/offer")

    counting = desks.of("health", CLERK)
    counting.open(negotiation)
    counting.send(f"{negotiation}/draft_terms", {f"parameter.{number}.id_number": "6"})
    assert "仅留末 6 位" in counting.page
    provider.open(negotiation)
    assert "仅留末 6 位" not in provider.page  # a draft is its own side's
    approver.open(negotiation)
    approver.send(f"{negotiation}/counter_offer")
    clerk.open(negotiation)
    clerk.send(f"{negotiation}/draft_terms", {f"parameter.{number}.id_number": "5"})
    provider.open(negotiation)
    provider.send(f"{negotiation}/offer")
    approver.open(negotiation)
    approver.send(f"{negotiation}/accept")
    provider.open(negotiation)
    provider.send(f"{negotiation}/agree")
    agreement = case_number(provider, "agreements")
    for browser in (approver, provider):
        assert "仅留末 5 位" in browser.open(agreement)
        assert agreement in browser.open("/agreements")


def test_a_refusal_leads_to_a_ruling_through_pages_alone(desks: Desks) -> None:
    request, _ = drafted(desks)
    approver = desks.of("health", APPROVER)
    approver.open(request)
    approver.send(f"{request}/file")
    negotiation = case_number(approver, "negotiations")
    provider = desks.of("civil", APPROVER)
    provider.open(negotiation)
    provider.send(f"{negotiation}/refuse", expect=422, reason="")
    assert "缺少此字段" in provider.page
    provider.send(f"{negotiation}/refuse", ground="exceeds_need", reason="范围超出用途所需")
    approver.open(negotiation)
    assert "范围超出用途所需" in approver.page
    approver.send(f"{negotiation}/open_dispute", reason="拒绝没有依据")
    dispute = approver.address
    mediator = desks.of("city_authority", MEDIATOR)
    assert dispute in mediator.open("/")
    mediator.open(dispute)
    mediator.send(f"{dispute}/admit")
    provider_clerk = desks.of("civil", CLERK)
    provider_clerk.open(dispute)
    provider_clerk.send(f"{dispute}/state", body="涉及个人信息")
    mediator.open(dispute)
    assert "涉及个人信息" in mediator.page
    ruling = {"outcome": "grant", "reasons": "依法应当共享", "legal_basis": "809 第二十八条"}
    mediator.send(f"{dispute}/draft_ruling", ruling)
    assert f"{dispute}/rule" not in mediator.page
    second = desks.of("city_authority", MEDIATOR, number=2)
    second.open(dispute)
    second.send(f"{dispute}/rule")
    approver.open(dispute)
    assert "依法应当共享" in approver.page
    assert "裁决" in approver.open(case_number(approver, "agreements"))


def test_an_act_on_what_has_changed_shows_the_case_as_it_is_now(desks: Desks) -> None:
    request, _ = drafted(desks)
    first, second = desks.of("health", APPROVER), desks.of("health", APPROVER, number=2)
    first.open(request)
    first.open(f"{request}/file")
    second.open(request)
    second.send(f"{request}/file")
    first.send(f"{request}/file", expect=412)
    assert "记录已被他人更新" in first.page
    assert "已提出" in first.page


def test_nothing_is_shown_or_done_for_strangers(desks: Desks) -> None:
    request, resource = drafted(desks)
    approver = desks.of("health", APPROVER)
    approver.open(request)
    approver.send(f"{request}/file")
    negotiation = case_number(approver, "negotiations")
    stranger = desks.of("market", APPROVER)
    for address in (request, negotiation):
        stranger.open(address, expect=404)
        assert "核验登记信息" not in stranger.page
    for address in ("/", "/requests", "/negotiations", "/disputes", "/agreements"):
        assert negotiation not in stranger.open(address)
    answer = stranger.client.post(f"{negotiation}/refuse", data={"version": "1"}, follow_redirects=False)
    assert answer.status_code == 404
    clerk = desks.of("civil", CLERK)
    answer = clerk.client.post(f"{negotiation}/refuse", data={"version": "1"}, follow_redirects=False)
    assert answer.status_code == 403
    nobody = desks.browser()
    for address in (request, negotiation):
        nobody.open(address)
        assert nobody.address == "/sign-in"
    nobody.open(resource, expect=404)


def test_what_is_entered_is_never_taken_for_markup(desks: Desks) -> None:
    request, _ = drafted(desks)
    approver = desks.of("health", APPROVER)
    approver.open(request)
    approver.send(f"{request}/file")
    negotiation = case_number(approver, "negotiations")
    clerk = desks.of("civil", CLERK)
    clerk.open(negotiation)
    clerk.send(f"{negotiation}/ask_material", reason="<script>alert(1)</script>")
    assert "<script>" not in clerk.page
    assert "&lt;script&gt;alert(1)" in clerk.page


def test_a_proof_can_be_followed_by_hand(desks: Desks) -> None:
    request, _ = drafted(desks)
    session, keys = desks.world.session, desks.client.app.state.keys  # type: ignore[attr-defined]  # a FastAPI app
    ledger.sequence(session, keys.ledger)
    approver = desks.of("health", APPROVER)
    approver.open(request)
    found = re.search(r"/ledger\?entry=([0-9a-f-]{36})", approver.page)
    assert found
    nobody = desks.browser()
    assert "一致：" in nobody.open(f"/ledger?entry={found[1]}")
    assert "没有这个条目" in nobody.open("/ledger?entry=nothing", expect=404)
    about = nobody.open(f"/ledger?entry={request.rsplit('/', maxsplit=1)[1]}")
    assert f"/ledger?entry={found[1]}" in about


def test_a_finding_is_answered_on_the_plans_page_and_becomes_a_request(desks: Desks) -> None:
    desks.world.publish()
    town, session = desks.world.town, desks.world.session
    record = PlanRecord.model_validate(
        {
            "title": "婚姻状况摸底调查", "population": "本市居民", "means": "form", "purpose": "掌握婚姻登记情况",
            "business_matter": "人口服务", "legal_basis": "某条例第三条", "update_cycle": "yearly",
            "period_from": "2026-10-01", "period_until": "2027-03-31",
            "items": [{"name": "公民身份号码", "data_type": "C"}, {"name": "姓名", "data_type": "C"}],
        }
    )  # fmt: skip
    plan = plans.draft_plan(session, record=record, by=town.actor("health", CLERK))
    session.flush()
    approver = desks.of("health", APPROVER)
    address = f"/plans/{plan.id}"
    approver.open(address)
    approver.send(f"{address}/file")
    assert "为什么认为相同" in approver.page
    assert address in approver.open("/plans")
    assert f"{address}#finding-" in approver.open("/")
    approver.open(address)
    found = re.search(r'href="(/findings/[0-9a-f-]{36})/withdraw"', approver.page)
    assert found
    approver.send(f"{found[1]}/withdraw")
    assert "已办理：放弃采集该信息项" in approver.page
    clerk = desks.of("health", CLERK)
    clerk.open(address)
    finding = found[1].rsplit("/", maxsplit=1)[1]
    assert f"/requests/new?finding={finding}" in clerk.page
    clerk.open(f"/requests/new?finding={finding}")
    clerk.send("/requests/new")
    assert clerk.address.startswith("/requests/")
    desks.of("market", CLERK).open(address, expect=404)
    clerk.open(address)
    clerk.send(f"{address}/amend", title="婚姻状况摸底调查（变更）")
    assert "已办理：变更" in clerk.page
    assert clerk.address != address
    assert "婚姻状况摸底调查（变更）" in clerk.page


WHO = {
    "/": ("health", CLERK),
    "/sign-in": None,
    "/password": ("health", CLERK),
    "/catalog": ("health", CLERK),
    "/requests": ("health", CLERK),
    "/negotiations": ("health", APPROVER),
    "/agreements": ("city_authority", MEDIATOR),
    "/disputes": ("city_authority", MEDIATOR),
    "/plans": ("city_authority", Role.CATALOG_ADMINISTRATOR),
    "/ledger": None,
}


@pytest.mark.parametrize("address", list(WHO))
def test_pages_in_both_languages(desks: Desks, address: str) -> None:
    who = WHO[address]
    browser = desks.of(*who) if who else desks.browser()
    chinese = browser.open(f"{address}?lang=zh-CN")
    english = browser.open(f"{address}?lang=en")
    assert '<html lang="zh-CN">' in chinese
    words = re.sub(r"<[^>]+>|政通|中文", "", english.split("</header>")[0])
    assert not re.search(r"[\u4e00-\u9fff]", re.sub(r'lang="zh-CN".*?</a>', "", words)), words
    assert len(re.findall("<h1", chinese)) == 1


def test_every_page_has_one_door(desks: Desks) -> None:
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            assert operations_of(route) == [route.operation_id]
            assert operations_of(route)[0].startswith("console.")
            assert not route.include_in_schema
