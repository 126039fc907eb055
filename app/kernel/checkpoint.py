"""Checkpoints: signed tree heads of the ledger in the C2SP formats (tlog-checkpoint, signed-note, tlog-cosignature).

Pure. Owns signing, cosigning and reading a note; what is signed is the ledger's.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# What a signature is over, as its key names it (C2SP signed-note, signature types).
LOG, COSIGNATURE = 1, 4


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Who signs, and the Ed25519 key (32 bytes) by which others verify it."""

    name: str
    public_key: bytes
    kind: int = LOG

    def __str__(self) -> str:
        """Name and key in one line, as verifiers of signed notes take it (C2SP signed-note, vkey)."""
        key = base64.b64encode(bytes([self.kind]) + self.public_key).decode()
        return f"{self.name}+{self.id.hex()}+{key}"

    @property
    def id(self) -> bytes:
        """The four bytes by which a signed note names the key."""
        return key_id(self.name, bytes([self.kind]) + self.public_key)

    @classmethod
    def read(cls, line: str, kind: int) -> Self:
        """The key in a vkey line. Errors: ValueError saying what is wrong with it."""
        name, *rest = line.strip().split("+", 2)
        if len(rest) != 2 or not name or any(sign.isspace() for sign in name):
            raise ValueError("not of the form name+id+key")
        raw = base64.b64decode(rest[1], validate=True)
        if len(raw) != 33 or raw[0] != kind:
            raise ValueError("not an Ed25519 key for this kind of signature")
        key = cls(name, raw[1:], kind)
        if key.id.hex() != rest[0]:
            raise ValueError("the id is not that of this name and key")
        return key


class NoteSigner(Protocol):
    """Signs the bodies of notes by an algorithm of its own; `verifier_key` prints as what others verify it by."""

    @property
    def verifier_key(self) -> object: ...

    def line(self, body: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Signer:
    """The log's identity: `origin` names it, the Ed25519 key signs its checkpoints; `second` signs them too, by
    another algorithm, where the deployment wants one."""

    origin: str
    key: Ed25519PrivateKey
    second: NoteSigner | None = None

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def verifier_key(self) -> VerifierKey:
        return VerifierKey(self.origin, self.public_key)

    def sign(self, size: int, root: bytes) -> str:
        """The checkpoint as a signed note (C2SP tlog-checkpoint, signed-note)."""
        body = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        also = self.second.line(body) if self.second else ""
        return f"{body}\n{_line(self.verifier_key, self.key.sign(body.encode()))}{also}"


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness's identity: it signs only checkpoints that it saw grow out of the ones it signed before."""

    name: str
    key: Ed25519PrivateKey

    @property
    def verifier_key(self) -> VerifierKey:
        return VerifierKey(self.name, self.key.public_key().public_bytes_raw(), COSIGNATURE)

    def cosign(self, note: str, at: int) -> str:
        """The signature line for a checkpoint seen at `at`, in seconds since 1970 (C2SP tlog-cosignature)."""
        signature = self.key.sign(_cosigned(_body(note), at))
        return _line(self.verifier_key, at.to_bytes(8, "big") + signature)


def key_id(name: str, typed_key: bytes) -> bytes:
    """The four bytes by which a note names a key: of its name, and its type with the key."""
    return hashlib.sha256(name.encode() + b"\n" + typed_key).digest()[:4]


def note_line(name: str, id_: bytes, signature: bytes) -> str:
    """A signature line of a note."""
    return f"— {name} {base64.b64encode(id_ + signature).decode()}\n"


def _line(key: VerifierKey, signature: bytes) -> str:
    return note_line(key.name, key.id, signature)


def _body(note: str) -> str:
    """What is signed of a note: all before the empty line. Errors: ValueError."""
    body, separator, _ = note.partition("\n\n")
    if not separator:
        raise ValueError("not a signed note")
    return body + "\n"


def _cosigned(body: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{body}".encode()


def signatures(note: str, key: VerifierKey) -> list[bytes]:
    """What `key` put on the note, unverified: 64 bytes for a log's, 8 bytes of time before them for a cosigner's.
    Lines of other keys are passed over. Errors: ValueError where a line cannot be read."""
    found = []
    for line in note.partition("\n\n")[2].splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "—" or name != key.name:
            continue
        raw = base64.b64decode(encoded, validate=True)
        if raw[:4] == key.id:
            found.append(raw[4:])
    return found


def read_note(note: str, key: VerifierKey) -> tuple[int, bytes]:
    """Size and root of a checkpoint that the log's `key` signed. Errors: ValueError saying what does not hold."""
    body = _body(note)
    lines = body.split("\n")
    if len(lines) < 4 or lines[0] != key.name:
        raise ValueError("not a checkpoint of this log")
    signed = signatures(note, key)
    if not signed:
        raise ValueError("the checkpoint carries no signature of this log's key")
    _verify(key, signed[0], body.encode())
    return int(lines[1]), base64.b64decode(lines[2], validate=True)


def read_cosignature(note: str, key: VerifierKey) -> int | None:
    """When the witness saw the checkpoint, in seconds since 1970; None where it did not cosign.
    Errors: ValueError where its cosignature does not hold."""
    signed = signatures(note, key)
    if not signed:
        return None
    at = int.from_bytes(signed[0][:8], "big")
    _verify(key, signed[0][8:], _cosigned(_body(note), at))
    return at


def _verify(key: VerifierKey, signature: bytes, message: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except InvalidSignature as error:
        raise ValueError("the signature does not hold") from error
