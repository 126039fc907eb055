"""The whole service with the sample city, in processes as `make run` starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE_S = 300
LAST_ACCOUNT = "dh_data.mediator2"  # the last line that `serve --demo` prints


class Service:
    """`serve --demo` on a data folder, with its children."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = _three_free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Return when it has printed everything it prints at the start."""
        command = [sys.executable, "-m", "app.cli", "serve", "--demo", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*command, "--data", str(self.data)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        with self._watched() as lines:
            printed = []
            for line in lines:
                printed.append(line)
                if LAST_ACCOUNT in line:
                    return
        raise AssertionError("the service ended at its start:\n" + "".join(printed))

    def kill(self) -> None:
        """SIGKILL to it and all its descendants, the database among them."""
        assert self._process is not None
        self._kill_all()
        self._process.communicate()

    def _kill_all(self) -> None:
        """Its descendants, too: they hold its output open."""
        assert self._process is not None
        for pid in [self._process.pid, *_descendants(self._process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode

    @contextmanager
    def _watched(self) -> Iterator[Iterator[str]]:
        assert self._process is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(PATIENCE_S, self._kill_all)
        watchdog.start()
        try:
            yield self._process.stdout
        finally:
            watchdog.cancel()


def _three_free_ports() -> int:
    """The first of three neighbours: control plane, gateway, provider."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first: int = probe.getsockname()[1]
        with suppress(OSError, OverflowError), socket.socket() as second, socket.socket() as third:
            second.bind(("127.0.0.1", first + 1))
            third.bind(("127.0.0.1", first + 2))
            return first


def _descendants(pid: int) -> list[int]:
    """Every process below `pid`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            status = (entry / "stat").read_text()
            parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    found = [pid]
    for above in found:
        found += [child for child, parent in parents.items() if parent == above]
    return found[1:]
