"""Secrets at rest: provider credentials and second factors, encrypted with keys that can be changed.

Owns the file of keys, one a line, the first of which seals and each of which opens. AES by default, the
national SM4-GCM (GB/T 32907) where a deployment chooses it; what the other sealed stays readable.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

_SM4 = b"sm4:"  # marks keys and what they sealed
_NONCE_BYTES, _TAG_BYTES = 12, 16


class CannotOpen(Exception):
    """No key in the file opens this: it was altered, or sealed with a key that is gone."""


def new_key(*, national: bool = False) -> bytes:
    """A line for the file of keys."""
    return _SM4 + urlsafe_b64encode(os.urandom(16)) if national else Fernet.generate_key()


class Seal:
    """Encrypts and decrypts. Reads the file again when it changes, so that a rotation needs no restart."""

    def __init__(self, path: Path, *, national: bool = False) -> None:
        self._path = path
        self._national = national
        self._seen = -1
        self._keys: list[bytes] = []

    def encrypt(self, secret: bytes) -> bytes:
        """`secret` sealed with the first key."""
        key = self._read()[0]
        if not key.startswith(_SM4):
            return Fernet(key).encrypt(secret)
        nonce = os.urandom(_NONCE_BYTES)
        return _SM4 + urlsafe_b64encode(nonce + sm4_gcm(_raw(key), nonce, secret))

    def decrypt(self, sealed: bytes) -> bytes:
        """What was sealed, with whichever key opens it. Errors: CannotOpen."""
        for key in self._read():
            if key.startswith(_SM4) != sealed.startswith(_SM4):
                continue
            with suppress(InvalidToken, InvalidTag, ValueError):
                if not key.startswith(_SM4):
                    return Fernet(key).decrypt(sealed)
                body = urlsafe_b64decode(sealed.removeprefix(_SM4))
                return open_sm4_gcm(_raw(key), body[:_NONCE_BYTES], body[_NONCE_BYTES:])
        raise CannotOpen("sealed with a key that is not in the file")

    def add_key(self) -> None:
        """Seal with a new key from now on; the earlier ones still open."""
        self._write([new_key(national=self._national), *self._read()])

    def forget_earlier_keys(self) -> None:
        """Keep the newest alone, once everything has been sealed again with it."""
        self._write(self._read()[:1])

    def _read(self) -> list[bytes]:
        changed = self._path.stat().st_mtime_ns
        if changed != self._seen:
            self._keys, self._seen = self._path.read_bytes().split(), changed
        return self._keys

    def _write(self, keys: list[bytes]) -> None:
        fresh = self._path.with_name(f".{self._path.name}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(b"\n".join(keys) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self._seen = -1


def sm4_gcm(key: bytes, nonce: bytes, secret: bytes, context: bytes = b"") -> bytes:
    """SM4-GCM (GB/T 32907, RFC 8998): the ciphertext and its 16-byte tag."""
    encryptor = Cipher(SM4(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(context)
    return encryptor.update(secret) + encryptor.finalize() + encryptor.tag


def open_sm4_gcm(key: bytes, nonce: bytes, sealed: bytes, context: bytes = b"") -> bytes:
    """The inverse of `sm4_gcm`. Errors: InvalidTag, ValueError."""
    body, tag = sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]
    decryptor = Cipher(SM4(key), modes.GCM(nonce, tag)).decryptor()
    decryptor.authenticate_additional_data(context)
    return decryptor.update(body) + decryptor.finalize()


def _raw(key: bytes) -> bytes:
    return urlsafe_b64decode(key.removeprefix(_SM4))
