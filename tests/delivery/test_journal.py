"""The gateway's journal: durable before it says so, whole after any crash, silent about nothing."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exchange.delivery.journal import Journal, JournalDamaged, JournalInUse, JournalUnavailable, open_journal
from exchange.delivery.protocol import Call, Outcome, Receipt

DELIVERED = Outcome(result="delivered", status=200, rows=3, bytes=30, sha256="ab" * 32)


def call(number: int, *, day: str = "2026-03-02", reserved: int = 10) -> Call:
    return Call(
        id=f"receipt-{number}",
        at="2026-03-02T01:00:00+00:00",
        day=day,
        agreement_id="agreement",
        agreement_hash="h",
        resource_id="resource",
        client_id="client",
        agency_id="agency",
        grant_id="grant",
        purpose="P1",
        method="api",
        items=("a",),
        rows_reserved=reserved,
    )


def refusal(number: int) -> Receipt:
    outcome = Outcome(result="refused", status=403, problem="item-not-agreed")
    return Receipt(call=call(number, reserved=0), outcome=outcome)


def with_journal(
    folder: Path, act: Callable[[Journal], Awaitable[None]], segment_bytes: int = 1 << 20
) -> None:
    async def run() -> None:
        journal = await open_journal(folder, segment_bytes=segment_bytes)
        try:
            await act(journal)
        finally:
            journal.close()

    asyncio.run(run())


def outcomes(journal: Journal) -> dict[str, str]:
    return {receipt.call.id: receipt.outcome.result for receipt in journal.unshipped(1000)}


def used(journal: Journal, day: str = "2026-03-02") -> tuple[int, int]:
    usage = journal.used("agreement", day)
    return usage.calls, usage.rows


def test_receipts_and_use_survive_a_restart(tmp_path: Path) -> None:
    async def first(journal: Journal) -> None:
        await journal.begin(call(1))
        assert used(journal) == (1, 10)
        await journal.complete("receipt-1", DELIVERED)
        await journal.refuse(refusal(2))
        assert used(journal) == (1, 3)

    async def second(journal: Journal) -> None:
        assert outcomes(journal) == {"receipt-1": "delivered", "receipt-2": "refused"}
        assert used(journal) == (1, 3)
        await journal.acknowledge(["receipt-1", "receipt-2", "unknown"])
        assert outcomes(journal) == {}

    async def third(journal: Journal) -> None:
        assert outcomes(journal) == {}
        assert used(journal) == (1, 3)

    for act in (first, second, third):
        with_journal(tmp_path, act)


def test_an_open_intent_is_reported_as_interrupted_once(tmp_path: Path) -> None:
    async def first(journal: Journal) -> None:
        await journal.begin(call(1))

    async def later(journal: Journal) -> None:
        (receipt,) = journal.unshipped(10)
        assert receipt.outcome.result == "interrupted"
        assert used(journal) == (1, 10)  # what may have left counts as used

    for act in (first, later, later):
        with_journal(tmp_path, act)


@pytest.mark.parametrize(
    "torn", [b"0", b"00000000 {", b'deadbeef {"type":"call"}\n', b"\x00" * 300, b"\xff\n\xff\n"]
)
def test_a_torn_end_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    async def first(journal: Journal) -> None:
        await journal.begin(call(1))
        await journal.complete("receipt-1", DELIVERED)

    async def second(journal: Journal) -> None:
        assert outcomes(journal) == {"receipt-1": "delivered"}
        await journal.refuse(refusal(2))

    async def third(journal: Journal) -> None:
        assert outcomes(journal) == {"receipt-1": "delivered", "receipt-2": "refused"}

    with_journal(tmp_path, first)
    with (tmp_path / "receipts-00000001.log").open("ab") as file:
        file.write(torn)
    with_journal(tmp_path, second)
    with_journal(tmp_path, third)


def test_every_cut_of_the_log_can_be_opened(tmp_path: Path) -> None:
    async def write(journal: Journal) -> None:
        await journal.begin(call(1))
        await journal.refuse(refusal(2))
        await journal.complete("receipt-1", DELIVERED)

    with_journal(tmp_path / "whole", write)
    whole = (tmp_path / "whole" / "receipts-00000001.log").read_bytes()
    for length in range(0, len(whole), 7):
        folder = tmp_path / f"cut-{length}"
        folder.mkdir()
        (folder / "receipts-00000001.log").write_bytes(whole[:length])

        async def check(journal: Journal, kept: int = whole[:length].count(b"\n")) -> None:
            expected = [
                {},
                {"receipt-1": "interrupted"},
                {"receipt-1": "interrupted", "receipt-2": "refused"},
            ]
            assert outcomes(journal) == expected[kept]

        with_journal(folder, check)


def test_damage_before_the_end_is_refused(tmp_path: Path) -> None:
    async def write(journal: Journal) -> None:
        for number in range(3):
            await journal.refuse(refusal(number))

    with_journal(tmp_path, write)
    path = tmp_path / "receipts-00000001.log"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalDamaged):
        with_journal(tmp_path, write)


def test_two_gateways_cannot_share_a_folder(tmp_path: Path) -> None:
    async def first(_: Journal) -> None:
        with pytest.raises(JournalInUse):
            await open_journal(tmp_path)

    with_journal(tmp_path, first)


@contextmanager
def file_size_limited(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_cannot_be_written_is_refused_and_counts_for_nothing(tmp_path: Path) -> None:
    async def write(journal: Journal) -> None:
        await journal.begin(call(1))
        size = (tmp_path / "receipts-00000001.log").stat().st_size
        with file_size_limited(size + 20):  # a line begins to fit, and does not end
            with pytest.raises(JournalUnavailable):
                await journal.begin(call(2))
            with pytest.raises(JournalUnavailable):
                await journal.refuse(refusal(3))
        assert (tmp_path / "receipts-00000001.log").stat().st_size == size
        assert used(journal) == (1, 10)
        await journal.begin(call(4))  # there is room again
        await journal.complete("receipt-4", DELIVERED)

    async def reopened(journal: Journal) -> None:
        assert outcomes(journal) == {"receipt-4": "delivered", "receipt-1": "interrupted"}

    with_journal(tmp_path, write)
    with_journal(tmp_path, reopened)


def test_old_segments_go_when_the_centre_holds_them_and_their_day_is_over(tmp_path: Path) -> None:
    def segments() -> list[str]:
        return sorted(path.name for path in tmp_path.glob("receipts-*.log"))

    async def write(journal: Journal) -> None:
        for number in range(6):
            await journal.begin(call(number, day="2026-03-02"))
            await journal.complete(f"receipt-{number}", DELIVERED)
        assert len(segments()) > 3
        await journal.acknowledge([f"receipt-{number}" for number in range(1, 6)])
        before = segments()
        await journal.begin(call(9, day="2026-03-03"))
        await journal.complete("receipt-9", DELIVERED)
        await journal.acknowledge(["receipt-9"])
        assert segments()[: len(before)] == before  # receipt-0 is still owed, and stands first
        await journal.acknowledge(["receipt-0"])
        assert len(segments()) < 3

    async def reopened(journal: Journal) -> None:
        assert outcomes(journal) == {}
        assert used(journal, "2026-03-03") == (1, 3)

    with_journal(tmp_path, write, segment_bytes=600)
    with_journal(tmp_path, reopened)


_WRITES_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from exchange.delivery.journal import open_journal
from tests.delivery.test_journal import call, DELIVERED

async def one(journal, number):
    await journal.begin(call(number))
    print("begun", number, flush=True)
    await journal.complete(f"receipt-{number}", DELIVERED)
    print("done", number, flush=True)

async def main():
    journal = await open_journal(Path(sys.argv[1]), segment_bytes=20_000)
    for start in range(0, 1_000_000, 50):
        await asyncio.gather(*(one(journal, start + n) for n in range(50)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 137, 1500])
def test_what_was_said_to_be_durable_survives_sigkill(tmp_path: Path, lines: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITES_UNTIL_KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.read().splitlines(keepends=True)
    whole = [line.split() for line in said if line.endswith("\n")]
    begun = {f"receipt-{number}" for word, number in whole if word == "begun"}
    done = {f"receipt-{number}" for word, number in whole if word == "done"}
    assert begun

    async def check(journal: Journal) -> None:
        found = {receipt.call.id: receipt.outcome.result for receipt in journal.unshipped(10**6)}
        assert begun <= found.keys()
        assert {receipt_id for receipt_id in done if found[receipt_id] != "delivered"} == set()
        delivered = sum(result == "delivered" for result in found.values())
        assert used(journal) == (len(found), 3 * delivered + 10 * (len(found) - delivered))

    with_journal(tmp_path, check)
