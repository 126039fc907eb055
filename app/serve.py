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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import uvicorn
from sqlalchemy import create_engine, select

from app.identity import tokens
from app.identity.models import Client, Jurisdiction
from app.kernel.actor import Scope, system_actor
from app.kernel.db import Database, sqlalchemy_url
from app.kernel.errors import Conflict
from app.kernel.keys import ServiceKeys, load_keys, load_private_jwk
from app.kernel.postgres import EmbeddedPostgres, refuse_unsafe_settings
from app.main import create_app
from app.migrate import migrate
from app.processes import STOP_WITHIN_S, SUPERVISED, Supervisor, die_with_parent, wait_ready
from app.settings import Settings, external_database

log = logging.getLogger(__name__)

GATEWAY_CLIENT = "gateway-central"


@contextmanager
def open_database(data: Path) -> Iterator[str]:
    """The URL of the database of this data folder: ZHENGTONG_DATABASE_URL, or the embedded one, attached to
    where it runs and started where it does not. Refuses one that would lose what it acknowledges."""
    external = external_database()
    if external is not None:
        _require_safe(external)
        yield external
        return
    with EmbeddedPostgres(data / "postgres") as postgres:
        _require_safe(postgres.url)
        yield postgres.url


def _require_safe(url: str) -> None:
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.connect() as connection:
            refuse_unsafe_settings(connection)
    finally:
        engine.dispose()


def keys_of(settings: Settings) -> ServiceKeys:
    """The deployment's keys; a new ledger is named after the public URL."""
    return load_keys(settings.keys, settings.public_url.split("://", 1)[-1].rstrip("/") + "/ledger")


def ensure_gateway(database: Database, settings: Settings) -> bool:
    """Register the central gateway as a client of the highest authority; False while there is no authority yet."""
    key = load_private_jwk(settings.keys / "gateway.pem")
    with database.transaction() as session:
        query = select(Jurisdiction.authority_id).where(Jurisdiction.authority_id.is_not(None))
        authority_id = session.scalar(query.order_by(Jurisdiction.level, Jurisdiction.code).limit(1))
        if authority_id is None:
            return False
        by = system_actor("serve")
        client = session.scalar(select(Client).where(Client.name == GATEWAY_CLIENT))
        if client is None:
            client = tokens.register_client(
                session, name=GATEWAY_CLIENT, title="中心网关 central gateway", agency_id=authority_id,
                scopes=frozenset({Scope.GATEWAY}), by=by,
            )  # fmt: skip
        with suppress(Conflict):
            tokens.add_client_key(session, client, key.as_dict(private=False), by=by)
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
def running(settings: Settings, *, host: str, port: int, gateway_port: int) -> Iterator[Supervisor]:
    """The whole service, ready, until the block ends. The database must be migrated."""
    supervisor = Supervisor()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: supervisor.stopping.set())
    environment = child_environment(settings)
    python = [sys.executable, "-m"]
    try:
        supervisor.add("control plane", [*python, "app.serve", host, str(port)], environment)
        supervisor.add("worker", [*python, "app.cli", "worker"], environment)
        wait_ready(f"http://{host}:{port}/readyz", supervisor)
        with _noted(settings, port):
            add_gateway(supervisor, settings, host=host, port=port, gateway_port=gateway_port)
            yield supervisor
    finally:
        supervisor.stop()


def add_gateway(
    supervisor: Supervisor, settings: Settings, *, host: str, port: int, gateway_port: int
) -> None:
    """Start the central gateway once an authority exists; until then it is tried again by `watch`."""
    if any(child.name == "gateway" for child in supervisor.children):
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
    ]  # fmt: skip
    supervisor.add("gateway", command, child_environment(settings))
    wait_ready(f"http://{host}:{gateway_port}/readyz", supervisor)


def watch(supervisor: Supervisor, settings: Settings, *, host: str, port: int, gateway_port: int) -> None:
    """Keep everything running until SIGTERM or SIGINT."""
    while not supervisor.stopping.wait(1.0):
        supervisor.watch_once()
        add_gateway(supervisor, settings, host=host, port=port, gateway_port=gateway_port)


def migrated(url: str) -> str:
    """Bring the database at `url` up to date; returns `url`."""
    migrate(url)
    return url


def run_api(settings: Settings, host: str, port: int) -> None:
    """Serve the control plane in this process until it is told to stop."""
    die_with_parent()
    database = Database(settings.database_url)
    app = create_app(settings, database, keys_of(settings))
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=int(STOP_WITHIN_S), limit_concurrency=1000, h11_max_incomplete_event_size=64 << 10,
    )  # fmt: skip
    try:
        uvicorn.Server(config).run()
    finally:
        database.close()


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


def settings_from_environment(data: Path, url: str, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings a child process was handed."""
    return Settings(
        data=data, database_url=url, public_url=environ.get("ZHENGTONG_PUBLIC_URL", "http://127.0.0.1:8000"),
        gateway_url=environ.get("ZHENGTONG_GATEWAY_URL") or None,
    )  # fmt: skip


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    own = settings_from_environment(Path(os.environ["ZHENGTONG_DATA"]), os.environ["ZHENGTONG_DATABASE_URL"])
    run_api(own, sys.argv[1], int(sys.argv[2]))
