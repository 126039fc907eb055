"""Time stamps by an authority written by others (OpenSSL's), and those that do not hold."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.x509 import Certificate, load_pem_x509_certificates
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from app import operate
from app.kernel import clock, ledger, timestamping
from app.kernel.db import Database
from app.kernel.errors import Problem
from app.kernel.keys import ServiceKeys
from app.kernel.timestamping import LedgerTimestamp, stamp_newest
from app.main import create_app
from app.settings import Settings
from tests.ledger.log import attest

HOUR = timedelta(hours=1)
CONFIG = """
[tsa]
dir = {folder}
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
[ext]
extendedKeyUsage = critical,timeStamping
keyUsage = critical,digitalSignature
"""


class Authority:
    """A time-stamping authority in a folder: a root, a signer under it, `openssl ts` that answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "tsa.cnf"
        self.config.write_text(CONFIG.format(folder=folder))
        (folder / "serial").write_text("01\n")
        root = ["-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.pem"), "-subj", "/CN=Root"]
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", *root)
        signer = ["-keyout", str(folder / "tsa.key"), "-out", str(folder / "tsa.pem"), "-subj", "/CN=Stamps"]
        under = ["-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key")]
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "20", *signer, *under,
                     "-config", str(self._request_config()), "-extensions", "ext")  # fmt: skip

    def _request_config(self) -> Path:
        file = self.folder / "req.cnf"
        file.write_text(self.config.read_text() + "[req]\ndistinguished_name = dn\n[dn]\n")
        return file

    @property
    def roots(self) -> list[Certificate]:
        return load_pem_x509_certificates((self.folder / "ca.pem").read_bytes())

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def answer(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        self.openssl(
            "ts",
            "-reply",
            "-config",
            str(self.config),
            "-section",
            "tsa",
            "-queryfile",
            "query",
            "-out",
            "reply",
        )
        return (self.folder / "reply").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return Authority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[bytes], bytes]], str]]:
    """Starts a server that answers queries with what a function makes of them; gives its URL."""
    servers: list[HTTPServer] = []

    def start(answer: Callable[[bytes], bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/timestamp-query"
                body = answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def grow(database: Database, keys: ServiceKeys, count: int) -> None:
    with database.transaction() as session:
        attest(session, keys.ledger, (count,))


def test_checkpoints_are_stamped_every_so_often_and_the_stamps_verify_elsewhere(
    database: Database, keys: ServiceKeys, settings: Settings, authority: Authority,
    serve: Callable[[Callable[[bytes], bytes]], str], tmp_path: Path,
) -> None:  # fmt: skip
    url = serve(authority.answer)
    assert stamp_newest(database, url, every=HOUR) == 0  # nothing to stamp
    grow(database, keys, 3)
    assert stamp_newest(database, url, every=HOUR) == 1
    grow(database, keys, 2)
    assert stamp_newest(database, url, every=HOUR) == 0  # too soon
    with clock.frozen(clock.now() + 2 * HOUR):
        assert stamp_newest(database, url, every=HOUR) == 1
        assert stamp_newest(database, url, every=HOUR) == 0  # nothing new
    assert operate.verify(database, keys, authority.roots) == (5, [], 2)

    with TestClient(create_app(settings, database, keys)) as client:
        listed = client.get("/ledger/timestamps").json()
        assert [stamp["size"] for stamp in listed] == [5, 3]
        (tmp_path / "stamp").write_bytes(client.get(listed[0]["href"]).content)
        note = client.get("/ledger/checkpoint").text
        assert client.get("/ledger/timestamps/4").status_code == 404
    (tmp_path / "body").write_bytes(timestamping.stamped(note))
    authority.openssl(
        "ts", "-verify", "-data", str(tmp_path / "body"), "-in", str(tmp_path / "stamp"), "-CAfile", "ca.pem"
    )


def test_a_stamp_of_something_else_or_by_a_stranger_is_found(
    database: Database, keys: ServiceKeys, authority: Authority,
    serve: Callable[[Callable[[bytes], bytes]], str], tmp_path: Path,
) -> None:  # fmt: skip
    url = serve(authority.answer)
    grow(database, keys, 3)
    stamp_newest(database, url, every=HOUR)
    _, differences, count = operate.verify(database, keys, Authority(tmp_path).roots)
    assert ([(d.kind, d.position) for d in differences], count) == ([("timestamp", 3)], 1)
    with database.transaction() as session:
        with pytest.raises(DBAPIError, match="never changed"), session.begin_nested():
            session.execute(text("DELETE FROM ledger_timestamp"))
        session.execute(text("ALTER TABLE ledger_timestamp DISABLE TRIGGER USER"))
        session.execute(text("UPDATE ledger_timestamp SET at = at + interval '1 second'"))
    _, differences, _ = operate.verify(database, keys, authority.roots)
    assert [(d.kind, d.message.en) for d in differences] == [
        ("timestamp", "the time stamp does not hold (another time)")
    ]
    with database.transaction() as session:
        stamp = session.scalars(select(LedgerTimestamp)).one()
        stamp.response = stamp.response[:-9] + bytes([stamp.response[-9] ^ 1]) + stamp.response[-8:]
        head = ledger.latest_checkpoint(session)
        assert head is not None
        with pytest.raises(ValueError):  # the library's own words
            timestamping.check(head.note, stamp.response, authority.roots)


def test_what_does_not_answer_the_request_is_not_kept(
    database: Database, keys: ServiceKeys, authority: Authority,
    serve: Callable[[Callable[[bytes], bytes]], str],
) -> None:  # fmt: skip
    grow(database, keys, 3)
    first: list[bytes] = []

    def replay(query: bytes) -> bytes:
        first.append(authority.answer(query))
        return first[0]

    url = serve(replay)
    assert stamp_newest(database, url, every=HOUR) == 1
    grow(database, keys, 1)
    with clock.frozen(clock.now() + 2 * HOUR), pytest.raises(Problem, match=r"no stamp|未予签发"):
        stamp_newest(database, url, every=HOUR)
    with pytest.raises(Problem), clock.frozen(clock.now() + 2 * HOUR):
        stamp_newest(database, serve(lambda _: b"nonsense"), every=HOUR)
    with database.transaction() as session:
        assert session.scalars(select(LedgerTimestamp.size)).all() == [3]
