"""Scanning of files for malicious content by a virus scanner of the deployment (the protocol of clamd).

Owns the conversation with the scanner. Which files wait for it, and who may not have them yet, is their owner's.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

SCHEME = "clamd"
PORT = 3310
TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 16
ANSWER_LIMIT_BYTES = 4096


class ScannerFailed(Exception):
    """The scanner did not say whether the content is clean."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """A clamd at `clamd://host:port`, or at a socket of this machine: `clamd:///run/clamav/clamd.ctl`."""

    url: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != SCHEME or not (parts.hostname or parts.path.strip("/")):
            raise ValueError(f"a scanner is {SCHEME}://host:port or {SCHEME}:///path, not {self.url}")

    def finding(self, content: bytes) -> str | None:
        """What is wrong with the content, as the scanner names it; None where it is clean.
        Errors: ScannerFailed."""
        try:
            with self._connected() as to:
                to.sendall(b"zINSTREAM\0")
                for start in range(0, len(content), CHUNK_BYTES):
                    chunk = content[start : start + CHUNK_BYTES]
                    to.sendall(struct.pack("!L", len(chunk)) + chunk)
                to.sendall(struct.pack("!L", 0))
                answer = b""
                while not answer.endswith(b"\0") and len(answer) < ANSWER_LIMIT_BYTES:
                    if not (part := to.recv(ANSWER_LIMIT_BYTES)):
                        break
                    answer += part
        except OSError as error:
            raise ScannerFailed(str(error)) from error
        said = answer.rstrip(b"\0\n").decode("utf-8", "replace").removeprefix("stream: ")
        if said == "OK":
            return None
        if said.endswith(" FOUND"):
            return said.removesuffix(" FOUND")
        raise ScannerFailed(said or "no answer")

    def _connected(self) -> socket.socket:
        parts = urlsplit(self.url)
        if parts.hostname:
            return socket.create_connection((parts.hostname, parts.port or PORT), TIMEOUT_S)
        to = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        to.settimeout(TIMEOUT_S)
        try:
            to.connect(parts.path)
        except OSError:
            to.close()
            raise
        return to


def scanner(url: str) -> Scanner | None:
    """The scanner that a setting names; None without one. Errors: ValueError."""
    return Scanner(url) if url else None
