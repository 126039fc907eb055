"""Tiles, entry bundles and checkpoints as C2SP tlog-tiles has them, over HTTP."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import merkle, tiles
from app.kernel.checkpoint import read_note
from app.kernel.keys import ServiceKeys
from tests.ledger.log import attest

SIZE = 600
PARTIAL = SIZE % 256
IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.fixture
def log(session: Session, client: TestClient, keys: ServiceKeys) -> TestClient:
    """The control plane over a log of 600 entries."""
    attest(session, keys.ledger, (1, 254, 300, 45))
    session.flush()
    return client


def hashes(log: TestClient, path: str) -> list[bytes]:
    answer = log.get(f"/ledger/tile/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == IMMUTABLE
    return [answer.content[n : n + 32] for n in range(0, len(answer.content), 32)]


def unbundled(data: bytes) -> list[bytes]:
    entries = []
    while data:
        length = int.from_bytes(data[:2], "big")
        entries.append(data[2 : 2 + length])
        data = data[2 + length :]
    return entries


@pytest.mark.parametrize(
    ("index", "width", "path"),
    [
        (0, 256, "000"), (7, 1, "007.p/1"), (999, 256, "999"), (1000, 256, "x001/000"),
        (1234067, 256, "x001/x234/067"), (1234067, 255, "x001/x234/067.p/255"),
    ],
)  # fmt: skip
def test_addresses_are_those_of_the_specification(index: int, width: int, path: str) -> None:
    assert tiles.tile_path(index, width) == path
    assert tiles.read_tile_path(path) == (index, width)


@given(st.integers(0, 10**18 - 1), st.integers(1, 256))
def test_every_address_is_read_as_it_was_written(index: int, width: int) -> None:
    assert tiles.read_tile_path(tiles.tile_path(index, width)) == (index, width)


@pytest.mark.parametrize(
    "path",
    [
        "0", "00", "0000", "x000/000", "001/000", "x001", "x001/", "000.p/0", "000.p/256", "000.p/01", "000.p/",
        "000.p", "000/", "/000", "٠٠٠", "-01", "000\n", "x001/x001/x001/x001/x001/x001/x001",
    ],
)  # fmt: skip
def test_other_addresses_are_none(path: str) -> None:
    assert tiles.read_tile_path(path) is None


def test_tiles_hold_the_tree_that_the_checkpoint_signs(log: TestClient, keys: ServiceKeys) -> None:
    answer = log.get("/ledger/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "max-age=1" in answer.headers["cache-control"]
    size, root = read_note(answer.text, keys.ledger.verifier_key)
    assert size == SIZE
    leaves = hashes(log, "0/000") + hashes(log, "0/001") + hashes(log, f"0/002.p/{PARTIAL}")
    assert len(leaves) == SIZE
    assert merkle.root(SIZE, lambda level, n: merkle.fold(leaves[n << level : (n + 1) << level])) == root
    assert hashes(log, "1/000.p/2") == [merkle.fold(leaves[:256]), merkle.fold(leaves[256:512])]
    assert hashes(log, "0/002.p/1") == leaves[512:513]  # as an earlier checkpoint had it


def test_entry_bundles_hash_to_the_tiles(log: TestClient) -> None:
    for number, path in enumerate(("000", "001", f"002.p/{PARTIAL}")):
        answer = log.get(f"/ledger/tile/entries/{path}", headers={"accept-encoding": "identity"})
        assert answer.headers["cache-control"] == IMMUTABLE
        assert "content-encoding" not in answer.headers
        entries = unbundled(answer.content)
        assert [merkle.leaf_hash(entry) for entry in entries] == hashes(log, f"0/{path}"), number
        packed = log.get(f"/ledger/tile/entries/{path}", headers={"accept-encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == answer.content


ELSEWHERE = [
    "0/002", f"0/002.p/{PARTIAL + 1}", "0/003", "0/003.p/1", "1/000", "1/000.p/3", "2/000", "2/000.p/1", "00/000",
    "8/000", "63/000", "64/000", "-1/000", "0/0", "0/x000/000", "0/999", "x/000", "entries/002", "entries/003.p/1",
    f"entries/002.p/{PARTIAL + 1}", "entries/0", "0/x999/x999/x999/x999/x999/999", "0",
]  # fmt: skip


def test_what_the_tree_does_not_hold_is_not_found_and_not_kept_in_caches(log: TestClient) -> None:
    for path in ELSEWHERE:
        answer = log.get(f"/ledger/tile/{path}")
        assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store"), path


def test_the_key_is_told_as_verifiers_take_it(log: TestClient, keys: ServiceKeys) -> None:
    told = log.get("/ledger/key").json()
    name, key_id, key = told["verifier_key"].split("+", 2)
    assert (name, base64.b64decode(key)) == (told["origin"], b"\x01" + keys.ledger.public_key)
    line = log.get("/ledger/checkpoint").text.splitlines()[4]
    assert base64.b64decode(line.split(" ")[2])[:4].hex() == key_id


def test_growth_is_proved_between_any_two_sizes(log: TestClient) -> None:
    for old, new in ((1, 600), (255, 600), (256, 555), (512, 600), (600, 600), (3, 7)):
        told = log.get("/api/v1/ledger/consistency", params={"old": old, "new": new}).json()
        old_root, new_root = base64.b64decode(told["old_root"]), base64.b64decode(told["new_root"])
        path = [base64.b64decode(node) for node in told["path"]]
        assert merkle.verify_consistency(old, new, old_root, new_root, path), (old, new)
        if new == SIZE:
            assert told["new_root"] == log.get("/ledger/checkpoint").text.splitlines()[2]


def test_growth_beyond_the_log_or_backwards_is_refused(log: TestClient) -> None:
    for old, new in ((0, 600), (601, 601), (5, 601), (7, 3), (1, 1 << 63), (1, "x")):
        answer = log.get("/api/v1/ledger/consistency", params={"old": old, "new": str(new)})
        assert (answer.status_code, bool(answer.json()["errors"])) == (422, True), (old, new)


def test_an_empty_log_has_neither_checkpoint_nor_tiles(client: TestClient) -> None:
    assert client.get("/ledger/checkpoint").status_code == 404
    assert client.get("/ledger/tile/0/000.p/1").status_code == 404
    assert client.get("/ledger/tile/entries/000.p/1").status_code == 404
