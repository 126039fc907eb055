"""The story of the demo, through the pages alone, by its different people: request, counter, consent, dispute,
ruling, plan, finding, notice, import with faults, audit proof."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from app.kernel.calendar import legal_date
from app.kernel.clock import now
from tests.catalog.sheets import ITEM, RESOURCE, workbook
from tests.console.hands import Hands

ID = "[0-9a-f-]{36}"
CAST = (
    "housing.clerk", "housing.approver", "civil.clerk", "civil.approver", "dh_edu.clerk", "dh_edu.approver",
    "data.mediator1", "data.mediator2", "dh_housing.clerk", "dh_housing.approver", "dh_data.catalog",
    "dh_data.mediator1", "dh_data.approver", "data.catalog", "data.audit",
)  # fmt: skip
SUBSISTENCE = "最低生活保障对象信息"
CIVIL_CODE = "11980100YJ00000586"
SOON_MS = 60_000


class Plot:
    """`arrive` brings a person to a browser, not signed in; `secrets` are their one-time secrets."""

    def __init__(self, arrive: Callable[[], Hands], secrets: dict[str, str]) -> None:
        self._arrive, self._secrets = arrive, secrets
        self.people: dict[str, Hands] = {}

    def person(self, login: str) -> Hands:
        """Somebody at their browser, signed in through the page."""
        if login not in self.people:
            hands = self.people[login] = self._arrive()
            hands.open("/sign-in")
            hands.fill("/sign-in", login=login, secret=self._secrets[login])
            hands.send("/sign-in")
            assert hands.path == "/password", hands.said()
            hands.open("/")
        return self.people[login]

    def faults(self) -> list[str]:
        return [fault for hands in self.people.values() for fault in hands.faults]

    def play(self, folder: Path) -> None:
        agreement = self.share()
        self.dispute()
        self.collect()
        self.bring_in(folder)
        self.audit()
        self.prove(agreement)

    # --- The chapters

    def share(self) -> str:
        """Request, counter, consent; the agreement's address."""
        negotiation = self._request("housing", "公租房保障家庭低保情况")
        provider = self.person("civil.clerk")
        provider.open("/")
        provider.follow(re.escape(negotiation))
        drafting = f"{negotiation}/draft_terms"
        masked = (
            provider.page.locator(
                f'form[action="{drafting}"] select[name$=".id_number"]'
            ).first.get_attribute("name")
            or ""
        )
        provider.fill(drafting, **{masked: "last_n", masked.replace("mask.", "parameter."): "4"})
        provider.send(drafting)
        assert "4" in provider.page.locator("ins").first.inner_text()
        self._do("civil.approver", negotiation, "offer", reason="证件号留末四位")
        counter = self.person("housing.clerk")
        counter.open(negotiation)
        counter.fill(drafting, rows_per_call="50")
        counter.send(drafting)
        self._do("housing.approver", negotiation, "counter_offer", reason="单次五十条即可")
        approver = self.person("civil.approver")
        approver.open(negotiation)
        self._do("civil.approver", negotiation, "agree")
        agreement = approver.path
        assert re.fullmatch(f"/agreements/{ID}", agreement)
        requester = self.person("housing.approver")
        requester.open(negotiation)
        requester.follow(re.escape(agreement))
        return agreement

    def dispute(self) -> None:
        """A refusal, the authority between the two, a ruling that one drafts and another signs."""
        negotiation = self._request("dh_edu", "学生资助家庭在享情况")
        self._do(
            "civil.approver",
            negotiation,
            "refuse",
            ground="exceeds_need",
            reason="区级单位应由学生自行提供证明",
        )
        self._do(
            "dh_edu.approver", negotiation, "open_dispute", reason="学生自行开具证明正是条例要消除的重复提交"
        )
        case = self.person("dh_edu.approver").path
        assert re.fullmatch(f"/disputes/{ID}", case)
        mediator = self.person("data.mediator1")
        mediator.open("/")
        mediator.follow(re.escape(case))
        mediator.do(f"{case}/admit")
        self._do("dh_edu.clerk", case, "state", body="金额与致困原因可以不要")
        self._do("civil.clerk", case, "state", body="反对提供月保障金额")
        self._do(
            "data.mediator1", case, "draft_ruling", outcome="grant", reasons="困难学生认定属法定职责",
            legal_basis="《政务数据共享条例》第二十八条",
        )  # fmt: skip
        self._do("data.mediator2", case, "rule")
        winner = self.person("dh_edu.approver")
        winner.open(case)
        winner.follow(f"/agreements/{ID}")

    def collect(self) -> None:
        """A plan that asks again, its finding justified, upheld, appealed, upheld; the notice."""
        clerk, today = self.person("dh_housing.clerk"), legal_date(now())
        clerk.open("/plans")
        clerk.follow("/plans/new")
        clerk.fill(
            "/plans/new", title="住房困难家庭入户调查", population="东湖区低保家庭", means="survey", purpose="编制住房保障计划",
            business_matter="住房保障计划编制", legal_basis="《公共租赁住房管理办法》第七条", update_cycle="yearly",
            period_from=today.isoformat(), period_until=(today + timedelta(days=90)).isoformat(), item_name="月保障金额",
            item_definition="低保家庭每月领取的保障金额", item_data_type="N",
        )  # fmt: skip
        clerk.send("/plans/new", 'button[name="check"]')
        assert clerk.page.locator('main td a[href^="/catalog/"]').count(), "what exists is not told"
        clerk.send("/plans/new")
        plan = clerk.path
        assert re.fullmatch(f"/plans/{ID}", plan)
        self._do("dh_housing.approver", plan, "file")
        clerk.open(plan)
        finding = clerk.link(f"/findings/{ID}/justify").removesuffix("/justify")
        clerk.do(f"{finding}/justify", ground="more_current", text="需入户核实")
        authority = self.person("dh_data.catalog")
        authority.open("/findings")
        authority.follow(rf"{plan}#finding-{ID}")
        authority.do(f"{finding}/uphold", reason="目录中该信息项由市民政局按日更新")
        self._do("dh_housing.approver", plan, f"{finding}/appeal", reason="入户核实与取数不是一回事")
        self._do("dh_data.mediator1", plan, f"{finding}/uphold", reason="异议不成立")
        self._do("dh_data.approver", plan, f"{finding}/notice")
        told = self.person("dh_housing.approver")
        told.open("/notices")
        told.follow(f"/notices/{ID}")
        assert "月保障金额" in told.page.content()

    def bring_in(self, folder: Path) -> None:
        """A workbook with faults: rehearsed, looked at, its good part brought in."""
        number = folder.name
        good = {**RESOURCE, "title": f"残疾人证信息 {number}"}
        bad = {**RESOURCE, "title": f"低保台账 {number}", "update_cycle": "每121日", "format.type": "excel"}
        file = folder / "目录.xlsx"
        file.write_bytes(workbook(good, ITEM, {**bad, **ITEM}).getvalue())
        hands = self.person("data.catalog")
        hands.open("/imports")
        hands.follow("/imports/new")
        hands.attach("/imports/new", "file", file)
        hands.fill("/imports/new", **{"as": "draft"})
        hands.open_details("/imports/new", "agency")
        hands.fill("/imports/new", agency=CIVIL_CODE)
        hands.send("/imports/new")
        job = hands.path
        self._until(hands, job, f'a[href="{job}/commit"]')
        assert hands.page.locator("table .tag.stop").count() == 1
        hands.follow(rf"{job}\?outcome=rejected")
        assert hands.page.locator("tbody tr").count() == 1
        assert hands.page.request.get(f"{hands.url}{job}/rejected.xlsx").ok
        hands.do(f"{job}/commit")
        self._until(hands, job, ".note.done")

    def audit(self) -> None:
        """The whole catalog compared in the background while its page is watched; what is found is on the desk."""
        hands = self.person("data.catalog")
        hands.open("/audit")
        hands.follow("/audits")
        hands.follow("/audits/new")
        hands.fill("/audits/new", whole="true")
        hands.send("/audits/new")
        self._until(hands, hands.path, 'main a.button[href="/audit"]')
        hands.follow("/audit")
        assert hands.page.locator("main tbody tr").count()

    def prove(self, agreement: str) -> None:
        """An auditor follows a proof, in the browser where it can compute."""
        reader = self.person("housing.approver")
        reader.open(agreement)
        entry = reader.link(rf"/ledger\?entry={ID}")
        auditor = self.person("data.audit")
        auditor.open("/ledger")
        auditor.fill("/ledger", entry=entry.partition("=")[2])
        auditor.send("/ledger")
        assert auditor.page.locator(".note.done").count(), auditor.said()
        if auditor.scripts:
            auditor.press("#verify button")
            auditor.page.wait_for_selector("#verify .note.done")

    # --- What they have in common

    def _request(self, agency: str, title: str) -> str:
        """The clerk finds the resource and drafts, the approver files; the negotiation's address."""
        clerk = self.person(f"{agency}.clerk")
        clerk.open("/")
        clerk.fill("/catalog", q=SUBSISTENCE)
        clerk.send("/catalog")
        clerk.follow(f"/catalog/{ID}")
        clerk.follow(rf"/requests/new\?resource={ID}")
        resource = clerk.page.url.rpartition("=")[2]
        form = "/requests/new"
        clerk.fill(form, title=title)
        clerk.check(form, f"item.{resource}", "household_code", "id_number", "name", "benefit_status")
        clerk.fill(
            form, purpose_text="资格年度复核", purpose_business_matter="资格审核",
            purpose_legal_basis="《公共租赁住房管理办法》第七条", security_measures="专线传输，存储加密",
        )  # fmt: skip
        clerk.send(form)
        request = clerk.path
        assert re.fullmatch(f"/requests/{ID}", request), clerk.said()
        approver = self.person(f"{agency}.approver")
        approver.open("/")
        approver.follow(re.escape(request))
        approver.do(f"{request}/file")
        return approver.link(f"/negotiations/{ID}")

    def _do(self, login: str, case: str, act: str, **values: str) -> None:
        """Open the case and do an act of it."""
        hands = self.person(login)
        hands.open(case)
        hands.do(act if act.startswith("/") else f"{case}/{act}", **values)

    def _until(self, hands: Hands, address: str, selector: str) -> None:
        """Wait for what the page shows when the work is done; a page without scripts is opened again."""
        if hands.scripts:
            hands.page.wait_for_selector(selector, timeout=SOON_MS)
            return
        for _ in range(SOON_MS // 500):
            if hands.page.locator(selector).count():
                return
            threading.Event().wait(0.5)
            hands.open(address)
        raise AssertionError(f"{selector} never came on {address}")
