"""The service's own keys, from files of mode 0600 in one folder: token signing, ledger, sealing, masks.

Owns loading and first creation. Keys never stand in the database, in settings or in logs.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import OKPKey

from app.kernel.checkpoint import Cosigner, Signer


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """Keys of one deployment; every node of it is given the same folder."""

    token: OKPKey  # signs access tokens and grants
    ledger: Signer  # signs checkpoints
    seal: Fernet  # encrypts provider credentials at rest
    mask: bytes  # each agreement's mask key is derived from it; changed, hashes handed out no longer match


def load_keys(folder: Path, origin: str) -> ServiceKeys:
    """The keys in `folder`, made there first where they are missing. Safe when several processes start at once.

    `origin` names a new ledger; an old one keeps its name, or its checkpoints would no longer verify.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return ServiceKeys(
        token=load_private_jwk(folder / "token.pem"),
        ledger=Signer(
            _once(folder / "ledger.origin", origin.encode).decode(),
            Ed25519PrivateKey.from_private_bytes(_once(folder / "ledger.key", lambda: os.urandom(32))),
        ),
        seal=Fernet(_once(folder / "seal.key", Fernet.generate_key)),
        mask=_once(folder / "mask.key", lambda: os.urandom(32)),
    )


def load_cosigner(path: Path, name: str) -> Cosigner:
    """The witness `name` with the Ed25519 key in `path`; made where missing."""
    return Cosigner(name, Ed25519PrivateKey.from_private_bytes(_once(path, lambda: os.urandom(32))))


def load_private_jwk(path: Path) -> OKPKey:
    """The Ed25519 private key in `path` (PEM, PKCS #8) as a JWK with its thumbprint as `kid`; made where missing."""
    pem = _once(path, _new_pem)
    key = OKPKey.import_key(pem)
    return OKPKey.import_key({**key.as_dict(private=True), "kid": key.thumbprint()})


def _new_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _once(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's content; where there is no file, what `make` gives, written so that one maker wins."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first; its key is then the key
            os.link(fresh, path)
        fresh.unlink()
    return path.read_bytes()
