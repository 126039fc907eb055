"""Killed with SIGKILL in the middle of the scenario and started again: nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

ROUNDS = int(os.environ.get("ZHENGTONG_SOAK_ROUNDS", "3"))
READY_WITHIN_S = 90
COMMAND = [sys.executable, "-m", "app.cli"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that an unprivileged database account may enter, as an operator would choose one."""
    path = Path(tempfile.mkdtemp(prefix="zt-recovery-"))
    path.chmod(0o711)
    yield path
    for pid in _processes_of(path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path, ignore_errors=True)


class Service:
    """`zhengtong serve --demo` as a process of its own, to be killed with everything it started."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = _free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [*COMMAND, "serve", "--demo", "--port", str(self.port), "--data", str(self.data)]
        with (self.data / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def wait_ready(self) -> None:
        until = time.monotonic() + READY_WITHIN_S
        gateway = f"http://127.0.0.1:{self.port + 1}/readyz"
        while time.monotonic() < until:
            with suppress(httpx2.HTTPError):
                if all(httpx2.get(u, timeout=2).status_code == 200 for u in (f"{self.url}/readyz", gateway)):
                    return
            time.sleep(0.1)
        raise AssertionError((self.data / "serve.log").read_text()[-3000:])

    def kill(self) -> None:
        """SIGKILL the service and its database, all at once."""
        for pid in _processes_of(self.data):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(60) == 0, (self.data / "serve.log").read_text()[-3000:]


def _processes_of(data: Path) -> list[int]:
    """Every process that names the data folder in its command line or environment, ourselves left out."""
    found = []
    needle = str(data).encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if needle in (entry / "cmdline").read_bytes() or needle in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def _free_ports() -> int:
    """A port whose two successors are free as well."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        with suppress(OSError):
            for successor in (port + 1, port + 2):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", successor))
            return port


class Writer(threading.Thread):
    """A clerk who drafts requests without pause and remembers every one the service acknowledged."""

    def __init__(self, url: str, token: str, body: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.halt = threading.Event()
        self._url, self._body = url, body
        self._headers = {"Authorization": f"Bearer {token}"}

    def run(self) -> None:
        with httpx2.Client(base_url=self._url, headers=self._headers, timeout=5, trust_env=False) as client:
            while not self.halt.is_set():
                with suppress(httpx2.HTTPError):
                    answer = client.post("/api/v1/requests", json=self._body)
                    if answer.status_code == 201:
                        self.acknowledged.append(answer.json()["id"])


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=170, check=False)


def _draft_of(transcript: str) -> tuple[str, dict[str, Any]]:
    """A session token of a clerk and the body of a request draft, taken from a played story."""
    token = ""
    body: dict[str, Any] = {}
    for line in transcript.splitlines():
        told = json.loads(line)
        for name, value in told.get("export", {}).items():
            if name == "HOUSING_CLERK":
                token = value
        curl = told.get("curl", "")
        if not body and '"$ZT/api/v1/requests"' in curl and "HOUSING_CLERK" in curl:
            words = shlex.split(curl)
            body = json.loads(words[words.index("-d") + 1])
    assert token and body, transcript[:2000]
    return token, body


@pytest.mark.soak
def test_nothing_acknowledged_is_lost_when_everything_is_killed(folder: Path) -> None:
    service = Service(folder)
    service.start()
    service.wait_ready()
    played = _run("demo", "--url", service.url, "--data", str(folder), "--json")
    assert played.returncode == 0, played.stdout[-2000:] + played.stderr[-2000:]
    token, body = _draft_of(played.stdout)
    dice = random.Random(20261122)
    acknowledged: list[str] = []
    for _ in range(ROUNDS):
        writers = [Writer(service.url, token, body) for _ in range(4)]
        for writer in writers:
            writer.start()
        story = subprocess.Popen(
            [*COMMAND, "demo", "--url", service.url, "--data", str(folder), "--json"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(dice.uniform(2.0, 5.0))  # the moment of the kill is what is random here
        service.kill()
        for writer in writers:
            writer.halt.set()
        for writer in writers:
            writer.join(10)
            acknowledged += writer.acknowledged
        story.kill()
        story.wait(10)
        service.start()
        service.wait_ready()
    assert len(acknowledged) > 20
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=service.url, headers=headers, timeout=10, trust_env=False) as client:
        missing = [i for i in acknowledged if client.get(f"/api/v1/requests/{i}").status_code != 200]
    assert missing == []
    replayed = _run("demo", "--url", service.url, "--data", str(folder))
    assert replayed.returncode == 0, replayed.stdout[-2000:] + replayed.stderr[-2000:]
    verified = _run("verify-ledger", "--data", str(folder), "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert json.loads(verified.stdout)["entries"] > 100
    service.stop()
