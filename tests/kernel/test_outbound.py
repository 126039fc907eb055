"""The guarded client: what it reaches, what it never does, and what it does not wait for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.kernel.outbound import AddressRefused, NotReachable, Outbound, networks

HERE = networks("127.0.0.0/8")


class Answers(BaseHTTPRequestHandler):
    """One path for each way of answering."""

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.path} {self.headers['Host']}")  # type: ignore[attr-defined]
        match self.path:
            case "/moved":
                self._send(302, b"", Location="http://169.254.169.254/latest")
            case "/packed":
                self._send(200, b"x", **{"Content-Encoding": "gzip"})
            case "/large":
                self._send(200, b"x" * 5000)
            case "/drip":
                self._drip()
            case _:
                self._send(200, b"hello")

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        """A header that never ends, a byte at a time: each byte comes well within the time for one read."""
        stopped: threading.Event = self.server.stopped  # type: ignore[attr-defined]
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        try:
            while not stopped.wait(0.02):
                self.wfile.write(b"x")
        except OSError:  # the client went away, as it should
            return

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.asked, server.stopped = [], threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.stopped.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


def asked(other: ThreadingHTTPServer) -> list[str]:
    return list(other.asked)  # type: ignore[attr-defined]


def test_a_name_is_resolved_once_and_the_judged_address_is_called(other: ThreadingHTTPServer) -> None:
    lookups: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        """A resolver whose second answer is another host."""
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["169.254.169.254"]

    answer = Outbound(HERE, rebinding).send("GET", f"http://data.example:{other.server_port}/a?q=中 文")
    assert (answer.status, answer.body, lookups) == (200, b"hello", ["data.example"])
    assert asked(other) == [f"/a?q=%E4%B8%AD%20%E6%96%87 data.example:{other.server_port}"]


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["203.0.113.1", "10.0.0.7"],  # every address counts
        ["169.254.169.254"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%eth0"],
        ["::"],
        ["224.0.0.1"],
    ],
)
def test_private_addresses_are_not_called_unless_their_network_is_listed(
    found: list[str], other: ThreadingHTTPServer
) -> None:
    with pytest.raises(AddressRefused):
        Outbound((), lambda *_: found).send("GET", f"http://data.example:{other.server_port}/")
    assert asked(other) == []


def test_metadata_is_not_called_though_every_network_is_listed() -> None:
    outbound = Outbound(networks("0.0.0.0/0, ::/0"), lambda *_: ["169.254.169.254"])
    with pytest.raises(AddressRefused):
        outbound.send("GET", "http://data.example/")


def test_a_redirect_is_an_answer_and_not_followed(other: ThreadingHTTPServer) -> None:
    answer = Outbound(HERE).send("GET", f"http://127.0.0.1:{other.server_port}/moved")
    assert (answer.status, answer.ok, len(asked(other))) == (302, False, 1)


@pytest.mark.parametrize("path", ["/large", "/packed", "/drip"])
def test_what_is_too_large_packed_or_slow_is_no_answer(path: str, other: ThreadingHTTPServer) -> None:
    with pytest.raises(NotReachable):
        Outbound(HERE).send(
            "GET", f"http://127.0.0.1:{other.server_port}{path}", limit_bytes=1000, timeout_s=0.3
        )


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/", "http://user:pw@example.org/", "http:///x", "http://2130706433/", "http://0x7f.1/",
        "http://127.0.0.1/", "http://[::1]/", "http://localhost/", "http://metadata.google.internal/",
        "http://example.org:99999/", "http://exa%6dple.org/",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_right_is_refused_as_it_is_written(url: str) -> None:
    faults = Outbound().faults("/url", url)
    assert [fault.field for fault in faults] == ["/url"]
    assert faults[0].message.zh and faults[0].message.en


def test_public_and_listed_addresses_may_be_written() -> None:
    outbound = Outbound(networks("10.1.0.0/16"))
    for url in ("https://data.example.gov.cn/a", "http://10.1.2.3:8080/", "https://政务.中国/"):
        assert outbound.faults("/url", url) == []
    assert outbound.faults("/url", "http://10.2.0.1/")
