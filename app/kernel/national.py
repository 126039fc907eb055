"""Signatures and hashes by the national algorithms: SM2 (GB/T 32918) and SM3 (GB/T 32905), beside Ed25519 and SHA-256.

Owns the second signature of checkpoints, for verifiers that take no other algorithm. The ledger's own tree, hashes and
signature stay as C2SP has them, so that anybody's verifier reads it. Needs the extra `national`.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Protocol

from app.kernel.checkpoint import key_id, note_line

USER = b"1234567812345678"  # who signs, where nothing else is agreed (GB/T 35276 §10)
# C2SP signed-note: 0xff is the type of algorithms that have no number, told apart by a name.
KIND = b"\xffSM2-with-SM3"
POINT_BYTES = 65  # uncompressed: 04, x, y
HALF_BYTES = 32  # of a signature: r, then s


class Hasher(Protocol):
    """A hash function by name."""

    @property
    def name(self) -> str: ...

    def digest(self, content: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class NamedHash:
    """A hash function of the standard library; `sm3` where its OpenSSL has it. Errors: ValueError where not."""

    name: str

    def digest(self, content: bytes) -> bytes:
        return hashlib.new(self.name, content).digest()


SHA256: Hasher = NamedHash("sha256")
SM3: Hasher = NamedHash("sm3")


@dataclass(frozen=True, slots=True)
class Sm2Key:
    """Who signs by SM2 with SM3, and the point (65 bytes) by which others verify it."""

    name: str
    public_key: bytes

    def __str__(self) -> str:
        encoded = base64.b64encode(KIND + self.public_key).decode()
        return f"{self.name}+{key_id(self.name, KIND + self.public_key).hex()}+{encoded}"

    @classmethod
    def read(cls, line: str) -> Sm2Key:
        """The key in a line as `str` gives it. Errors: ValueError."""
        name, _, rest = line.strip().partition("+")
        raw = base64.b64decode(rest.partition("+")[2], validate=True)
        key = cls(name, raw[len(KIND) :])
        if not raw.startswith(KIND) or len(key.public_key) != POINT_BYTES or str(key) != line.strip():
            raise ValueError("not an SM2 key of the form name+id+key")
        return key

    def holds(self, note: str) -> bool:
        """Whether this key signed the note. Lines of other keys are passed over."""
        from gmalg import SM2  # noqa: PLC0415 - an extra

        body, _, lines = note.partition("\n\n")
        mark = key_id(self.name, KIND + self.public_key)
        for line in lines.splitlines():
            dash, _, rest = line.partition(" ")
            name, _, encoded = rest.partition(" ")
            signed = base64.b64decode(encoded) if (dash, name) == ("—", self.name) else b""
            if signed.startswith(mark) and len(signed) == len(mark) + 2 * HALF_BYTES:
                r, s = signed[len(mark) : -HALF_BYTES], signed[-HALF_BYTES:]
                return bool(SM2(uid=USER, pk=self.public_key).verify(f"{body}\n".encode(), r, s))
        return False


@dataclass(frozen=True, slots=True)
class Sm2Signer:
    """Signs checkpoints by SM2 with SM3; `secret` is the 32 bytes of the private key."""

    name: str
    secret: bytes

    @property
    def verifier_key(self) -> Sm2Key:
        from gmalg import SM2  # noqa: PLC0415 - an extra

        return Sm2Key(self.name, bytes(SM2().generate_pk(self.secret)))

    def line(self, body: str) -> str:
        """The signature line for the body of a note (C2SP signed-note)."""
        from gmalg import SM2  # noqa: PLC0415 - an extra

        key = self.verifier_key
        r, s = SM2(self.secret, USER, key.public_key).sign(body.encode())
        signature = r.rjust(HALF_BYTES, b"\0") + s.rjust(HALF_BYTES, b"\0")
        return note_line(self.name, key_id(self.name, KIND + key.public_key), signature)


def new_sm2_secret() -> bytes:
    """A fresh private key. Errors: ModuleNotFoundError without the extra `national`."""
    from gmalg import SM2  # noqa: PLC0415 - an extra

    secret, _ = SM2().generate_keypair()
    return bytes(secret).rjust(HALF_BYTES, b"\0")
