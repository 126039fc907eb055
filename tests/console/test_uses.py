"""Use is noted on the page of an agreement's receipts."""

from __future__ import annotations

from datetime import timedelta

from app.kernel import clock
from app.kernel.actor import Role
from tests.console.conftest import Desks
from tests.delivery.systems import Calls
from tests.exchange.world import START


def test_the_requester_notes_a_use_and_the_provider_reads_it(desks: Desks) -> None:
    calls = Calls(desks.world, desks.world.agreed())
    receipt, refused = calls.receipt(), calls.receipt("refused", rows=0)
    calls.ship(receipt, refused)
    address = f"/agreements/{calls.agreement['id']}/receipts"
    clerk, provider = desks.of("health", Role.CLERK), desks.of("civil", Role.CLERK)
    entered = {
        "uses-0-receipt_id": receipt.call.id,
        "uses-0-purpose": "check",
        "uses-0-matter": "〔2026〕7号",
        "uses-0-unit": "审批处",
        "uses-0-used_at": "2026-09-18T09:05",
    }
    with clock.frozen(START + timedelta(minutes=10)):
        clerk.open(address)
        assert receipt.call.id in clerk.page and f'value="{refused.call.id}"' not in clerk.page
        clerk.send(address, entered | {"uses-0-used_at": "2026-09-18T23:00"}, expect=422)
        assert "使用时间不成立" in clerk.page and "〔2026〕7号" in clerk.page
        clerk.send(address, entered)
        assert clerk.address == address and "审批处" in clerk.page
        assert "审批处" in provider.open(address) and "登记使用" not in provider.page
        assert "Note a use" in clerk.open(f"{address}?lang=en")
        desks.of("market", Role.CLERK).open(address, expect=404)
