"""SM2 and SM3 against the vectors that their standards publish, and under the ledger's checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from gmalg import SM2

from app.kernel.checkpoint import read_note
from app.kernel.keys import load_keys
from app.kernel.national import SM3, USER, Sm2Key, Sm2Signer

# GB/T 32918.5, appendix A: the recommended curve.
SECRET = bytes.fromhex("3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8")
POINT = bytes.fromhex(
    "0409F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
)
K = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21
R = bytes.fromhex("F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3")
S = bytes.fromhex("B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA")


@pytest.mark.parametrize(
    ("content", "digest"),
    [  # GB/T 32905, appendix A
        (b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
        (b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
    ],
)
def test_sm3_as_its_standard_has_it(content: bytes, digest: str) -> None:
    assert SM3.digest(content).hex() == digest


def test_sm2_as_its_standard_has_it() -> None:
    assert Sm2Signer("log", SECRET).verifier_key.public_key == POINT
    assert SM2(SECRET, USER, rnd_fn=lambda _: K).sign(b"message digest") == (R, S)
    assert SM2(uid=USER, pk=POINT).verify(b"message digest", R, S)


def test_a_checkpoint_carries_both_signatures(tmp_path: Path) -> None:
    signer = load_keys(tmp_path, "share.test/ledger", sm2=True).ledger
    assert isinstance(signer.second, Sm2Signer)
    note = signer.sign(7, bytes(32))
    assert read_note(note, signer.verifier_key) == (
        7,
        bytes(32),
    )  # who knows only Ed25519 passes over the other
    key = Sm2Key.read(str(signer.second.verifier_key))
    assert key.holds(note)
    assert not key.holds(note.replace("\n7\n", "\n8\n"))
    assert not key.holds("\n".join(note.splitlines()[:-1]) + "\n")
    assert not Sm2Signer("share.test/ledger", SECRET).verifier_key.holds(note)
    again = load_keys(tmp_path, "share.test/ledger", sm2=True).ledger
    assert again.second == signer.second
    with pytest.raises(ValueError, match="SM2 key"):
        Sm2Key.read(str(signer.verifier_key))
