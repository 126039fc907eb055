"""The verifier that others' packages make up, and a control plane that really listens."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.settings import Settings
from tests.delivery.test_end_to_end import serving
from tests.delivery.world import free_port

SOURCE = Path(__file__).parent / "verifier"
Verifier = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Verifier:
    """Runs the Go program of `verifier/`, built here; skipped where Go or its packages are not to be had."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    folder = shutil.copytree(SOURCE, tmp_path_factory.mktemp("go") / "verifier")
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    fetched = run(go, "mod", "download")
    if fetched.returncode:
        pytest.skip(f"the Go packages of the verifier are not to be had: {fetched.stderr.strip()[-200:]}")
    built = run(go, "build", "-o", "verifier", ".")
    assert built.returncode == 0, built.stderr
    return lambda *arguments: run(str(folder / "verifier"), *arguments)


@pytest.fixture
def centre(database: Database, keys: ServiceKeys, settings: Settings) -> Iterator[str]:
    """URL of the control plane on a database of its own, over a real socket."""
    port = free_port()
    with serving(settings, database, keys, port):
        yield f"http://127.0.0.1:{port}"
