"""Keys in turn: token keys overlap, the seal's keys change without a restart, SM4-GCM gives the published values."""

from __future__ import annotations

from base64 import b32encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from app.identity import second_factor
from app.identity.models import SecondFactor
from app.kernel.actor import Role
from app.kernel.clock import frozen
from app.kernel.db import Database
from app.kernel.keys import ACCEPTED_AFTER, PUBLISHED_AHEAD, ROTATED_EVERY, TokenKeys, load_keys
from app.kernel.seal import CannotOpen, Seal, new_key, open_sm4_gcm, sm4_gcm
from app.operate import rotate_keys
from tests.factories import Town

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)  # long after the first key's file is made
HOUR = timedelta(hours=1)


def kids(keys: TokenKeys) -> list[str | None]:
    return [key.kid for key in keys.accepted()]


def test_a_token_key_is_published_before_it_signs_and_accepted_for_a_while_after(tmp_path: Path) -> None:
    here, elsewhere = TokenKeys(tmp_path), TokenKeys(tmp_path)
    with frozen(MOMENT):
        first = here.signing().kid
        assert here.rotate()
        assert not elsewhere.rotate(), "one of two processes makes it"
        assert elsewhere.signing().kid == first
        assert len(kids(elsewhere)) == 2
    with frozen(MOMENT + PUBLISHED_AHEAD):
        second = elsewhere.signing().kid
        assert (second != first, set(kids(here))) == (True, {first, second})
    with frozen(MOMENT + PUBLISHED_AHEAD + ACCEPTED_AFTER):
        assert kids(elsewhere) == [second]
        here.rotate()
    assert len(list(tmp_path.glob("token*.pem"))) == 1
    with frozen(MOMENT + ROTATED_EVERY):
        assert here.rotate()


def test_a_lost_token_key_is_out_at_once(tmp_path: Path) -> None:
    keys = TokenKeys(tmp_path)
    with frozen(MOMENT):
        lost = keys.signing().kid
        keys.rotate(at_once=True)
        assert keys.signing().kid != lost
        assert kids(TokenKeys(tmp_path)) == [keys.signing().kid]


@pytest.mark.parametrize("national", [False, True], ids=["AES", "SM4"])
def test_what_is_sealed_stays_readable_while_keys_change(tmp_path: Path, national: bool) -> None:
    seal = load_keys(tmp_path, "x", national=national).seal
    running = Seal(tmp_path / "seal.key", national=national)
    before = seal.encrypt("口令".encode())
    assert running.decrypt(before) == "口令".encode()
    seal.add_key()
    after = running.encrypt(b"new")
    assert (seal.decrypt(after), running.decrypt(before)) == (b"new", "口令".encode())
    seal.forget_earlier_keys()
    assert running.decrypt(after) == b"new"
    with pytest.raises(CannotOpen):
        running.decrypt(before)
    with pytest.raises(CannotOpen):
        running.decrypt(after[:-8] + b"AAAAAAA=")
    assert (tmp_path / "seal.key").stat().st_mode & 0o077 == 0


def test_a_deployment_that_turns_to_sm4_reads_what_aes_sealed(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    path.write_bytes(new_key())
    before = Seal(path).encrypt(b"old")
    seal = Seal(path, national=True)
    seal.add_key()
    assert seal.encrypt(b"x").startswith(b"sm4:")
    assert seal.decrypt(before) == b"old"


def test_sm4_gcm_is_the_published_one() -> None:
    """RFC 8998, appendix A.1."""
    key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    nonce = bytes.fromhex("00001234567800000000ABCD")
    context = bytes.fromhex("FEEDFACEDEADBEEFFEEDFACEDEADBEEFABADDAD2")
    plain = b"".join(bytes([byte]) * 8 for byte in (0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF, 0xEE, 0xAA))
    sealed = bytes.fromhex(
        "17F399F08C67D5EE19D0DC9969C4BB7D5FD46FD3756489069157B282BB200735"
        "D82710CA5C22F0CCFA7CBF93D496AC15A56834CBCF98C397B4024A2691233B8D"
        "83DE3541E4C2B58177E065A9BF7B62EC"
    )
    assert sm4_gcm(key, nonce, plain, context) == sealed
    assert open_sm4_gcm(key, nonce, sealed, context) == plain
    with pytest.raises(InvalidTag):
        open_sm4_gcm(key, nonce, sealed[:-1] + b"\0", context)


def test_rotating_seals_again_what_is_at_rest(database: Database, tmp_path: Path) -> None:
    keys = load_keys(tmp_path, "x")
    with database.transaction() as session:
        person = Town(session).person("civil", Role.CLERK)
        written, _ = second_factor.begin(session, person, keys.seal)
    with database.transaction() as session:
        before = session.get_one(SecondFactor, person.id).sealed
    assert rotate_keys(database, keys, at_once=False) == 1
    with database.transaction() as session:
        after = session.get_one(SecondFactor, person.id).sealed
    assert after != before
    assert b32encode(keys.seal.decrypt(after)).decode() == written
    with pytest.raises(CannotOpen):
        keys.seal.decrypt(before)
    assert len(keys.token.accepted()) == 2
