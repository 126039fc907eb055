"""Checkpoints: signed tree heads of the ledger in the C2SP formats (tlog-checkpoint, signed-note).

Pure. Owns signing and reading a note; what is signed is the ledger's.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Signer:
    """The log's identity: `origin` names it, the Ed25519 key signs its checkpoints."""

    origin: str
    key: Ed25519PrivateKey

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def verifier_key(self) -> str:
        """Name and key in one line, as verifiers of signed notes take it (C2SP signed-note, vkey)."""
        key = base64.b64encode(b"\x01" + self.public_key).decode()
        return f"{self.origin}+{key_id(self.origin, self.public_key).hex()}+{key}"

    def sign(self, size: int, root: bytes) -> str:
        """The checkpoint as a signed note (C2SP tlog-checkpoint, signed-note)."""
        body = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        signature = key_id(self.origin, self.public_key) + self.key.sign(body.encode())
        return f"{body}\n— {self.origin} {base64.b64encode(signature).decode()}\n"


def key_id(origin: str, public_key: bytes) -> bytes:
    """The four bytes by which a signed note names an Ed25519 key (C2SP signed-note)."""
    return hashlib.sha256(origin.encode() + b"\n\x01" + public_key).digest()[:4]


def read_note(note: str, origin: str, public_key: bytes) -> tuple[int, bytes]:
    """Size and root of a checkpoint whose signature holds. Errors: ValueError saying what does not hold."""
    body, separator, signatures = note.partition("\n\n")
    lines = body.split("\n")
    if not separator or len(lines) < 3 or lines[0] != origin:
        raise ValueError("not a checkpoint of this log")
    for line in signatures.splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "—" or name != origin:
            continue
        raw = base64.b64decode(encoded, validate=True)
        if raw[:4] != key_id(origin, public_key):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(raw[4:], (body + "\n").encode())
        except InvalidSignature as error:
            raise ValueError("the checkpoint's signature does not hold") from error
        return int(lines[1]), base64.b64decode(lines[2], validate=True)
    raise ValueError("the checkpoint carries no signature of this log's key")
