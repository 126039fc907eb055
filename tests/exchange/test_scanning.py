"""A virus scanner keeps attachments back until it has found nothing in them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.kernel.actor import Role
from app.kernel.scanning import Scanner, ScannerFailed
from exchange import attachments
from tests.conftest import OneTransaction
from tests.exchange.world import World

# The test string that every scanner takes for a virus, so written that none takes this file for one.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


def _answer(to: socket.socket) -> None:
    """As clamd answers INSTREAM (clamd(8))."""
    stream = to.makefile("rb")
    assert stream.read(10) == b"zINSTREAM\0"
    content = b""
    while size := struct.unpack("!L", stream.read(4))[0]:
        content += stream.read(size)
    if b"broken" in content:
        to.sendall(b"INSTREAM size limit exceeded. ERROR\0")
    else:
        to.sendall(b"stream: Eicar-Test-Signature FOUND\0" if EICAR in content else b"stream: OK\0")
    stream.close()
    to.close()


@pytest.fixture
def scanner(tmp_path: Path) -> Iterator[Scanner]:
    path = tmp_path / "clamd.ctl"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    to, _ = listener.accept()
                except OSError:
                    return
                with to:
                    _answer(to)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Scanner(f"clamd://{path}")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_what_the_scanner_says(scanner: Scanner) -> None:
    assert scanner.finding(b"x" * 200_000) is None
    assert scanner.finding(b"x" * 100_000 + EICAR) == "Eicar-Test-Signature"
    with pytest.raises(ScannerFailed, match="size limit"):
        scanner.finding(b"broken")
    with pytest.raises(ScannerFailed):
        Scanner("clamd:///nowhere/clamd.ctl").finding(b"x")
    with pytest.raises(ValueError, match="clamd://"):
        Scanner("http://127.0.0.1:3310")


def test_an_attachment_is_withheld_until_it_is_found_clean(
    world: World, one_transaction: OneTransaction, client: TestClient, scanner: Scanner
) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    app.state.settings = replace(app.state.settings, scanner=scanner)
    case = world.filed(world.publish())
    for name, content in (("a.txt", "说明".encode()), ("b.txt", EICAR)):
        case = world.attached(case, name=name, content=content)
    urls = [f"/api/v1/negotiations/{case['id']}/attachments/{told['id']}" for told in case["attachments"]]
    headers = world.headers("health", Role.CLERK)
    before = [client.get(url, headers=headers) for url in urls]
    assert [(a.status_code, a.json()["type"]) for a in before] == [(409, "/problems/file-withheld")] * 2
    while attachments.scan_next(one_transaction, scanner):
        pass
    clean, malicious = (client.get(url, headers=headers) for url in urls)
    assert (clean.status_code, clean.text) == (200, "说明")
    assert malicious.status_code == 409
    assert "Eicar-Test-Signature" in malicious.json()["detail"]
    assert EICAR not in malicious.content
