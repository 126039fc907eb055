"""The service's own keys, from files of mode 0600 in one folder: token signing, ledger, sealing, masks.

Owns loading, first creation and rotation. Keys never stand in the database, in settings or in logs.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import OKPKey

from app.kernel.checkpoint import Cosigner, Signer
from app.kernel.clock import now
from app.kernel.national import Sm2Signer, new_sm2_secret
from app.kernel.seal import Seal, new_key

ROTATED_EVERY = timedelta(days=90)
PUBLISHED_AHEAD = timedelta(minutes=15)  # before it signs: verifiers fetch the key set every five minutes
ACCEPTED_AFTER = timedelta(hours=1)  # a key that no longer signs; tokens live five minutes
_STAMP = "token-%Y%m%dT%H%M%SZ.pem"


class TokenKeys:
    """The keys that sign access tokens and grants, in turn: each is published before it signs and accepted
    for a while after. Every process that shares the folder sees a new one with its next token."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = -1
        self._keys: list[tuple[datetime, OKPKey]] = []  # oldest first
        if not any(folder.glob("token*.pem")):
            load_private_jwk(folder / "token.pem")

    def signing(self) -> OKPKey:
        """The key that signs now: the newest that has been published for long enough."""
        keys = self._read()
        in_use = [key for made_at, key in keys if made_at + PUBLISHED_AHEAD <= now()]
        return in_use[-1] if in_use else keys[0][1]

    def accepted(self) -> list[OKPKey]:
        """Keys whose signatures hold now, the coming one among them."""
        keys = self._read()
        successors = [made_at for made_at, _ in keys[1:]]
        until = [made_at + PUBLISHED_AHEAD + ACCEPTED_AFTER for made_at in successors]
        return [key for (_, key), end in zip(keys, [*until, None], strict=True) if end is None or now() < end]

    def rotate(self, *, early: bool = False, at_once: bool = False) -> bool:
        """Make the next key where the newest is due, and forget those that nobody accepts any more.

        `early`: make it whatever the age. `at_once`, after a key was lost: that, and accept no other from now on.
        """
        keys = self._read()
        due = early or at_once or keys[-1][0] + ROTATED_EVERY <= now()
        if due:
            load_private_jwk(self._folder / now().strftime(_STAMP))
        held = {key.kid for key in self.accepted()[-1 if at_once else 0 :]}
        for path in self._folder.glob("token*.pem"):
            if load_private_jwk(path).kid not in held:
                path.unlink(missing_ok=True)
        return due

    def _read(self) -> list[tuple[datetime, OKPKey]]:
        changed = self._folder.stat().st_mtime_ns
        if changed != self._seen:
            files = sorted((_made_at(path), path) for path in self._folder.glob("token*.pem"))
            self._keys = [(made_at, load_private_jwk(path)) for made_at, path in files]
            self._seen = changed
        return self._keys


def _made_at(path: Path) -> datetime:
    """From its name; the first key has none, and its file's age serves."""
    try:
        return datetime.strptime(path.name, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """Keys of one deployment; every node of it is given the same folder."""

    token: TokenKeys  # sign access tokens and grants
    ledger: Signer  # signs checkpoints
    seal: Seal  # encrypts provider credentials and second factors at rest
    mask: bytes  # each agreement's mask key is derived from it; changed, hashes handed out no longer match


def load_keys(folder: Path, origin: str, *, national: bool = False, sm2: bool = False) -> ServiceKeys:
    """The keys in `folder`, made there first where they are missing. Safe when several processes start at once.

    `origin` names a new ledger; an old one keeps its name, or its checkpoints would no longer verify.
    `national`: what is sealed from now on is sealed with SM4-GCM instead of AES. `sm2`: checkpoints are signed by
    SM2 too.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = _once(folder / "ledger.origin", origin.encode).decode()
    return ServiceKeys(
        token=TokenKeys(folder),
        ledger=Signer(
            name,
            Ed25519PrivateKey.from_private_bytes(_once(folder / "ledger.key", lambda: os.urandom(32))),
            Sm2Signer(name, _once(folder / "ledger-sm2.key", new_sm2_secret)) if sm2 else None,
        ),
        seal=_seal(folder / "seal.key", national),
        mask=_once(folder / "mask.key", lambda: os.urandom(32)),
    )


def load_cosigner(path: Path, name: str) -> Cosigner:
    """The witness `name` with the Ed25519 key in `path`; made where missing."""
    return Cosigner(name, Ed25519PrivateKey.from_private_bytes(_once(path, lambda: os.urandom(32))))


def _seal(path: Path, national: bool) -> Seal:
    _once(path, lambda: new_key(national=national))
    return Seal(path, national=national)


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
