"""Processes on one machine: started, started again when they die, stopped in reverse order.

Knows nothing of what they run, so that a gateway can use it without loading the control plane.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import httpx2

from app.kernel.errors import Conflict
from app.kernel.text import Text

log = logging.getLogger(__name__)

READY_WITHIN_S = 180
STOP_WITHIN_S = 25.0
RESTART_AFTER_S = 1.0
SUPERVISED = "ZHENGTONG_SUPERVISED"  # set for children, so that they end with their supervisor


@dataclass
class Child:
    """One supervised process: how to start it, and the running one."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = field(default=0.0)

    def start(self) -> None:
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(self.command, env=dict(self.environment))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Supervisor:
    """Starts the children, starts again those that die, stops all of them in reverse order."""

    def __init__(self, keep: Callable[[], None] = lambda: None) -> None:
        """`keep` is called with each look, for what else has to be kept running."""
        self._keep = keep
        self.children: list[Child] = []
        self.stopping = threading.Event()

    def add(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        child = Child(name, command, environment)
        child.start()
        self.children.append(child)

    def has(self, name: str) -> bool:
        return any(child.name == name for child in self.children)

    def watch_once(self) -> None:
        """Start again what has died, at most once a second each."""
        self._keep()
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                if time.monotonic() - child.started_at < RESTART_AFTER_S:
                    continue
                log.warning("%s ended with %s; starting it again", child.name, child.process.returncode)
                child.start()

    def stop(self) -> None:
        self.stopping.set()
        for child in reversed(self.children):
            child.stop()


def die_with_parent() -> None:
    """End this process when its supervisor is gone, however it went; a no-op without one."""
    if SUPERVISED in os.environ:
        end_with_parent()


def end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def require_free(host: str, port: int) -> None:
    """Errors: Conflict where something listens there already."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = Text(
                "{host}:{port} 不可用（{error}）。请用 --port 另选端口（make run PORT=…）。",
                "{host}:{port} cannot be used ({error}). Choose another with --port (make run PORT=…).",
            )
            raise Conflict(message.with_(host=host, port=port, error=error.strerror)) from None


def wait_ready(url: str, supervisor: Supervisor) -> None:
    """Return once `url` answers 200. Errors: TimeoutError."""
    until = time.monotonic() + READY_WITHIN_S
    with httpx2.Client(timeout=2, trust_env=False) as client:
        while not supervisor.stopping.is_set():
            with suppress(httpx2.HTTPError):
                if client.get(url).status_code == 200:
                    return
            if time.monotonic() > until:
                raise TimeoutError(url)
            supervisor.watch_once()
            time.sleep(0.05)
