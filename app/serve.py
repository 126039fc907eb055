"""`serve`: one command that runs the whole exchange on one machine and keeps it running.

Owns the processes: embedded PostgreSQL, control plane, worker, central gateway. Decides nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx2
from sqlalchemy import create_engine, select

from app.identity import clients
from app.identity.models import Client, Jurisdiction
from app.kernel.actor import Scope, system_actor
from app.kernel.db import Database, sqlalchemy_url
from app.kernel.errors import Conflict
from app.kernel.keys import load_private_jwk
from app.kernel.postgres import EmbeddedPostgres, refuse_unsafe_settings
from app.kernel.postgres_files import DatabaseNotUsable
from app.processes import SUPERVISED, Supervisor, wait_ready
from app.settings import Settings, external_database
from exchange.delivery.registry import stand_for_centre

log = logging.getLogger(__name__)

GATEWAY_CLIENT = "gateway-central"


class HeldDatabase:
    """The database of a data folder while it is in use: ZHENGTONG_DATABASE_URL, or the embedded one, attached
    to where it runs and started where it does not. One that would lose what it acknowledges is refused."""

    def __init__(self, data: Path) -> None:
        external = external_database()
        self._embedded = EmbeddedPostgres(data / "postgres") if external is None else None
        self._external = external

    def __enter__(self) -> Self:
        self.url = self._embedded.start() if self._embedded else str(self._external)
        _require_safe(self.url)
        return self

    def __exit__(self, *_: object) -> None:
        if self._embedded:
            self._embedded.stop()

    def keep(self) -> None:
        """Start the embedded server again where it has died; others look after their own."""
        if self._embedded and not self._embedded.is_running():
            log.warning("the embedded PostgreSQL ended; starting it again")
            self._embedded.stop()
            try:
                self._embedded.start()
            except DatabaseNotUsable as error:  # tried again with the next look
                log.error("%s", error.text.en)


@contextmanager
def open_database(data: Path) -> Iterator[str]:
    """The URL of the database of this data folder, for the length of a command."""
    with HeldDatabase(data) as held:
        yield held.url


def _require_safe(url: str) -> None:
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.connect() as connection:
            refuse_unsafe_settings(connection)
    finally:
        engine.dispose()


def ensure_gateway(database: Database, settings: Settings) -> bool:
    """Register the central gateway as a client of the highest authority, approved by rule; False while there is no
    authority yet."""
    key = load_private_jwk(settings.keys / "gateway.pem")
    with database.transaction() as session:
        query = select(Jurisdiction.authority_id).where(Jurisdiction.authority_id.is_not(None))
        authority_id = session.scalar(query.order_by(Jurisdiction.level, Jurisdiction.code).limit(1))
        if authority_id is None:
            return False
        by = system_actor("serve")
        client = session.scalar(select(Client).where(Client.name == GATEWAY_CLIENT))
        if client is None:
            client = clients.register_client(
                session, name=GATEWAY_CLIENT, title="中心网关 central gateway", agency_id=authority_id,
                scopes=frozenset({Scope.GATEWAY}), by=by,
            )  # fmt: skip
        with suppress(Conflict):
            clients.add_client_key(session, client, key.as_dict(private=False), by=by)
        if settings.gateway_url is not None:
            stand_for_centre(session, client, settings.gateway_url)
    return True


def child_environment(settings: Settings) -> dict[str, str]:
    """What a child process is told; the database's password travels here and not in its arguments."""
    return {
        **os.environ,
        SUPERVISED: "1",
        "ZHENGTONG_DATA": str(settings.data),
        "ZHENGTONG_DATABASE_URL": settings.database_url,
        "ZHENGTONG_PUBLIC_URL": settings.public_url,
        "ZHENGTONG_GATEWAY_URL": settings.gateway_url or "",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def running(
    settings: Settings, *, keep: Callable[[], None], host: str, port: int, gateway_port: int
) -> Iterator[Supervisor]:
    """The whole service, ready, until the block ends. The database must be migrated; `keep` is called every
    second to look after it."""
    supervisor = Supervisor(keep)
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: supervisor.stopping.set())
    environment = child_environment(settings)
    python = [sys.executable, "-m"]
    try:
        supervisor.add("control plane", [*python, "app.api", host, str(port)], environment)
        supervisor.add("worker", [*python, "app.cli", "worker"], environment)
        wait_ready(f"http://{host}:{port}/readyz", supervisor)
        add_gateway(supervisor, settings, host=host, port=port, gateway_port=gateway_port)
        if supervisor.has("gateway"):
            wait_ready(f"http://{host}:{gateway_port}/readyz", supervisor)
        with _noted(settings, port):
            yield supervisor
    finally:
        supervisor.stop()


def add_gateway(
    supervisor: Supervisor, settings: Settings, *, host: str, port: int, gateway_port: int
) -> None:
    """Start the central gateway once an authority exists; until then it is tried again by `watch`."""
    if supervisor.has("gateway"):
        return
    database = Database(settings.database_url, pool_size=1)
    try:
        if not ensure_gateway(database, settings):
            return
    finally:
        database.close()
    command = [
        sys.executable, "-m", "app.cli", "gateway", "--centre", f"http://{host}:{port}",
        "--issuer", settings.public_url, "--client-id", GATEWAY_CLIENT, "--key", str(settings.keys / "gateway.pem"),
        "--data", str(settings.data / "gateway"), "--host", host, "--port", str(gateway_port),
        *(("--url", settings.gateway_url) if settings.gateway_url else ()),
    ]  # fmt: skip
    supervisor.add("gateway", command, child_environment(settings))


def watch(supervisor: Supervisor, settings: Settings, *, host: str, port: int, gateway_port: int) -> None:
    """Keep everything running until SIGTERM or SIGINT."""
    while not supervisor.stopping.wait(1.0):
        supervisor.watch_once()
        add_gateway(supervisor, settings, host=host, port=port, gateway_port=gateway_port)


@contextmanager
def _noted(settings: Settings, port: int) -> Iterator[None]:
    """Leave a note for commands of the same user: which data folder the service on this port has."""
    note = _notes() / f"{port}.json"
    note.write_text(json.dumps({"data": str(settings.data), "url": settings.public_url}))
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def data_of(url: str) -> Path | None:
    """The data folder of a service of this user on this machine, by its URL; None where none is noted."""
    port = httpx2.URL(url).port
    note = _notes() / f"{port}.json"
    return Path(json.loads(note.read_text())["data"]) if port and note.exists() else None


def _notes() -> Path:
    """A folder of this user's alone."""
    user = hashlib.sha256(str(os.geteuid()).encode()).hexdigest()[:8]
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"zhengtong-run-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder
