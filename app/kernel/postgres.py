"""Supervisor of the embedded PostgreSQL: start, attach, watch, stop; and what any database must promise.

Owns the server process of one data folder. Refuses to lose data quietly: other major versions and unsafe
settings. Installs no signal handler: the owner turns SIGTERM into `stop()`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg.pq import PGconn, Ping
from sqlalchemy import Connection, text

from app.kernel.postgres_files import (
    CLEAN_ENVIRONMENT,
    DATABASE,
    ELSEWHERE,
    OLDEST_MAJOR,
    ROLE,
    SERVICE_ROLE,
    Account,
    DatabaseNotUsable,
    FolderOutOfReach,
    account_for,
    find_binaries,
    make_cluster,
    prepare_home,
    recorded_home,
    refuse_other_major,
)
from app.kernel.text import Text

_log = logging.getLogger(__name__)
_SOCKET = ".s.PGSQL.5432"  # the port only names the socket; every cluster has its own folder
_SOCKET_PATH_LIMIT = 103  # bytes in sun_path: 107 on Linux, 103 on macOS
_SHORT_SOCKET_PREFIX = "/tmp/zhengtong-"  # noqa: S108  # mkdtemp adds a random end and closes it to others  # nosec B108
_POLL_S = 0.02
_REPORT_EVERY_S = 10.0

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # One file for each weekday, overwritten a week later: the log stays bounded without outside rotation.
    "logging_collector": "on",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    # Statements and error details would carry rows, and so personal information, into the log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class ServerEnded(DatabaseNotUsable):
    sentence = Text("数据库启动后即退出:\n{log}", "The database ended while starting:\n{log}")


class ServerRefuses(DatabaseNotUsable):
    sentence = Text(
        "数据库在运行,但拒绝连接:{detail}", "The database runs but refuses the connection: {detail}"
    )


class StartTooSlow(DatabaseNotUsable):
    sentence = Text(
        "数据库 {seconds:.0f} 秒内未就绪(可能仍在崩溃恢复)。进程未被终止,会继续恢复;"
        "稍后再次启动即可接管,或者延长启动上限。",
        "The database was not ready within {seconds:.0f} s (it may still be recovering from a crash). It was left "
        "running and goes on recovering: start again later to take it over, or raise the ceiling for starting.",
    )


class UnsafeSettings(DatabaseNotUsable):
    sentence = Text(
        "数据库的下列设置可能使已确认的数据丢失,服务拒绝启动:{found}。请由数据库管理员执行:{way_out}",
        "The service does not start on a database whose settings can lose acknowledged data: {found}. "
        "Way out, as its administrator: {way_out}",
    )


class ServerTooOld(DatabaseNotUsable):
    sentence = Text(
        "数据库版本是 PostgreSQL {found},需要 {oldest} 或更高版本。请升级,或者改用内置数据库(不设置 ZHENGTONG_DATABASE_URL)。",
        "The database is PostgreSQL {found}; {oldest} or later is needed. Upgrade it, or use the embedded database "
        "(leave ZHENGTONG_DATABASE_URL unset).",
    )


class EmbeddedPostgres:
    """One PostgreSQL for `data_dir`, shared by all processes that start it; the last one to stop ends it.

    The server is a direct child of the process that found none running. All others attach to it and get
    the same URL, also after that process was killed. Locks of the kernel, released by death, keep the
    count: `start.lock` (one starts or stops at a time), `users.lock` (shared by everyone between start and
    stop), `server.lock` (inherited by PostgreSQL's own processes, so held exactly while one of them lives).

    `start_ceiling_s` bounds the wait for readiness, crash recovery included. `elsewhere` is where root
    keeps a cluster whose `data_dir` the unprivileged account cannot enter. `bin_dir` overrides the search
    for binaries. `settings_for_tests` may make the server faster and unsafe; the product never passes it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        start_ceiling_s: float = 3600.0,
        stop_ceiling_s: float = 60.0,
        elsewhere: Path = ELSEWHERE,
        settings_for_tests: Mapping[str, str] | None = None,
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._bin_dir = bin_dir
        self._start_ceiling_s = start_ceiling_s
        self._stop_ceiling_s = stop_ceiling_s
        self._elsewhere = elsewhere
        self._settings = {**SETTINGS, **(settings_for_tests or {})}
        self._home = self._data_dir
        self._url: str | None = None
        self._users: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The libpq URL that `start` returned."""
        assert self._url is not None, "not started"
        return self._url

    @property
    def attached(self) -> bool:
        """Whether the server that is used was started by another process."""
        return self._users is not None and self._process is None

    @property
    def home(self) -> Path:
        """The folder with the cluster and the password; to be backed up. Known after `start`."""
        return self._home

    def start(self) -> str:
        """Start or attach, and wait until connections are served. Returns a libpq URL with the password.

        Raises a DatabaseNotUsable that says the way out.
        """
        if self._users is not None:
            raise RuntimeError("already started")
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _exclusive(self._data_dir / "start.lock"):
                self._url = self._start()
                return self._url
        except PermissionError as error:
            account = account_for(os.geteuid(), None)
            raise FolderOutOfReach(account=account.name, folder=error.filename or self._data_dir) from error

    def _start(self) -> str:
        cluster = recorded_home(self._data_dir) / "cluster"
        account = account_for(os.geteuid(), cluster.stat().st_uid if cluster.exists() else None)
        self._home = prepare_home(self._data_dir, account, self._elsewhere)
        self._users = os.open(self._home / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._users, fcntl.LOCK_SH)
        try:
            return self._until_ready(account)
        except StartTooSlow:
            self._let_go()
            raise
        except BaseException:  # also SystemExit from the owner's signal handler: leave nothing behind
            self._leave()
            raise

    def _until_ready(self, account: Account) -> str:
        begun = time.monotonic()
        next_report_s = _REPORT_EVERY_S
        while True:
            if self._process is None and not _is_held(self._home / "server.lock"):
                self._launch(account)
            # Read after the launch: what a crashed server left is overwritten by the new one.
            url = _url(self._home)
            ping = _ping(url)
            if url and ping is Ping.OK:
                try:
                    _make_service_role(url)
                    return url
                except psycopg.OperationalError as error:
                    if _ping(url) is Ping.OK:  # else it was just ending, and answered its last
                        raise ServerRefuses(detail=str(error).strip()) from error
            if self._process and self._process.poll() is not None:
                raise ServerEnded(log=_last_words(self._home))
            waited_s = time.monotonic() - begun
            if waited_s > self._start_ceiling_s:
                raise StartTooSlow(seconds=self._start_ceiling_s)
            if waited_s > next_report_s:
                state = "recovering or stopping" if ping is Ping.REJECT else "not answering yet"
                _log.warning("waiting for PostgreSQL for %.0f s: %s", waited_s, state)
                next_report_s += _REPORT_EVERY_S
            time.sleep(_POLL_S)

    def _launch(self, account: Account) -> None:
        binaries = find_binaries(self._bin_dir)
        if (self._home / "cluster").exists():
            refuse_other_major(self._home, binaries)
        binaries = binaries.copied_for(account, self._home)
        if not (self._home / "cluster").exists():
            make_cluster(self._home, binaries, account)
        data = self._home / "cluster" / "data"
        _discard_traces(data)
        sockets = _socket_folder(self._home, account)
        # Nobody of this cluster lives (server.lock), but after a SIGKILL the number in the socket's lock file
        # may by now be another process's, and PostgreSQL would take that for itself.
        for left in (_SOCKET, f"{_SOCKET}.lock"):
            (sockets / left).unlink(missing_ok=True)
        settings = {**self._settings, "unix_socket_directories": f'"{sockets}"'}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        lock = os.open(self._home / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with (self._home / "start.log").open("wb") as log:
                self._process = subprocess.Popen(
                    [binaries.bin_dir / "postgres", "-D", data, *options],
                    cwd=data,
                    env=CLEAN_ENVIRONMENT,
                    user=account.uid if account.other else None,
                    group=account.gid if account.other else None,
                    extra_groups=[] if account.other else None,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    # Out of the terminal's process group: Ctrl-C reaches the owner, which stops us in order.
                    start_new_session=True,
                )
        finally:
            os.close(lock)

    def is_running(self) -> bool:
        """Whether the server lives; a child that died is reaped by this call."""
        if self._process is not None:
            return self._process.poll() is None
        return self._users is not None and _is_held(self._home / "server.lock")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the server's end, at most `timeout_s`; returns whether it ended."""
        return _until(lambda: not self.is_running(), timeout_s)

    def stop(self) -> None:
        """Leave the server; the last one to leave shuts it down and waits for its end. Idempotent."""
        if self._users is not None:
            with _exclusive(self._data_dir / "start.lock"):
                self._leave()

    def _leave(self) -> None:
        assert self._users is not None
        try:
            # From shared to exclusive: granted only where nobody else holds the lock.
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._shut_down()
        except BlockingIOError:
            pass  # others still use the server
        finally:
            self._let_go()

    def _let_go(self) -> None:
        assert self._users is not None
        os.close(self._users)
        if self._process is not None and self._process.poll() is None:
            # It lives on for others but stays our child: someone must reap it when they end it.
            threading.Thread(target=self._process.wait, daemon=True).start()
        self._users = self._process = None

    def _shut_down(self) -> None:
        data = self._home / "cluster" / "data"
        recorded = _pid_file(data)
        # Fast: open transactions are rolled back, a checkpoint is written. Immediate: recovered at next start.
        for how, ceiling_s in ((signal.SIGINT, self._stop_ceiling_s), (signal.SIGQUIT, 30.0)):
            pid = self._process.pid if self._process else int(recorded[0]) if recorded else None
            if pid is not None and self.is_running() and (self._process or _is_postmaster(pid, data)):
                with suppress(ProcessLookupError):
                    os.kill(pid, how)
            if self.wait(ceiling_s) and _until(lambda: not _is_held(self._home / "server.lock"), ceiling_s):
                break
            _log.error("PostgreSQL did not end within %.0f s of %s", ceiling_s, how.name)
        _remove_short_socket_folder(recorded)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def find_running(data_dir: Path) -> str | None:
    """The URL of the server that runs for `data_dir` and accepts connections, or None. Starts nothing and
    does not keep it running: a command that must not lose it uses `EmbeddedPostgres` instead.

    Raises FolderOutOfReach where the folder belongs to another user.
    """
    try:
        home = recorded_home(data_dir.resolve())
        url = _url(home) if _is_held(home / "server.lock") else None
    except PermissionError as error:
        account = account_for(os.geteuid(), None)
        raise FolderOutOfReach(account=account.name, folder=error.filename or data_dir) from error
    return url if _ping(url) is Ping.OK else None


def _make_service_role(url: str) -> None:
    """Make the role that ROLE takes on for the control plane, where the cluster has been without it."""
    with psycopg.connect(url, connect_timeout=10) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (SERVICE_ROLE,)).rowcount:
            return
    superuser = url.replace(f"//{ROLE}:", "//postgres:", 1)  # has the same password
    with psycopg.connect(superuser) as connection:
        connection.execute(f"CREATE ROLE {SERVICE_ROLE} NOLOGIN")
        connection.execute(f"GRANT {SERVICE_ROLE} TO {ROLE}")


def refuse_unsafe_settings(connection: Connection) -> None:
    """Refuse a database that is older than OLDEST_MAJOR or can lose what it acknowledged.

    Looks at `fsync`, `full_page_writes` and `synchronous_commit`, the last also where a role or a database
    presets it. `synchronous_commit` may be anything but off: `local` still survives a crash.

    Raises ServerTooOld, UnsafeSettings.
    """
    version = connection.execute(text("SHOW server_version_num")).scalar_one()
    if int(version) < OLDEST_MAJOR * 10_000:
        raise ServerTooOld(found=int(version) // 10_000, oldest=OLDEST_MAJOR)
    presets = connection.execute(_PRESETS).scalars().all()
    found = [f"synchronous_commit = off ({preset})" for preset in presets]
    way_out = [f"ALTER {preset} RESET synchronous_commit;" for preset in presets]
    for name, source in connection.execute(_SETTINGS_OFF):
        if source in ("database", "user", "database user"):
            continue  # among the presets
        found.append(f"{name} = off")
        by_client = source in ("client", "session")
        way_out.append(
            f"SET {name} = on; (连接参数 connection options)"
            if by_client
            else f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();"
        )
    if found:
        raise UnsafeSettings(found=", ".join(found), way_out=" ".join(way_out))


_SETTINGS_OFF = text(
    "SELECT name, source FROM pg_settings"
    " WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name"
)
# Presets of this database for any role, and of any database for the role we are.
_PRESETS = text("""
    SELECT CASE
             WHEN s.setrole = 0 AND s.setdatabase = 0 THEN 'ROLE ALL'
             WHEN s.setrole = 0 THEN 'DATABASE ' || quote_ident(d.datname)
             ELSE 'ROLE ' || quote_ident(r.rolname) || coalesce(' IN DATABASE ' || quote_ident(d.datname), '')
           END
    FROM pg_db_role_setting s
    LEFT JOIN pg_database d ON d.oid = s.setdatabase
    LEFT JOIN pg_roles r ON r.oid = s.setrole
    CROSS JOIN unnest(s.setconfig) AS entry(setting)
    WHERE lower(entry.setting) IN
          ('synchronous_commit=off', 'synchronous_commit=false', 'synchronous_commit=no', 'synchronous_commit=0')
      AND (d.datname = current_database()
           OR s.setdatabase = 0 AND (s.setrole = 0 OR r.rolname IN (session_user, current_user)))
    ORDER BY 1
""")


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the block; waits for whoever holds it, and death releases it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _is_held(path: Path) -> bool:
    """Whether some process holds the lock file `path` exclusively."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who ask do not see each other
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _until(reached: Callable[[], bool], timeout_s: float | None) -> bool:
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while not reached():
        if end is not None and time.monotonic() >= end:
            return False
        time.sleep(_POLL_S)
    return True


def _ping(url: str | None) -> Ping:
    """A connection attempt: OK, REJECT (starting up, recovering or stopping) or no answer."""
    return Ping(PGconn.ping(f"{url}&connect_timeout=5".encode())) if url else Ping.NO_RESPONSE


def _pid_file(data: Path) -> list[str]:
    """The lines of postmaster.pid (process, data folder, start, port, socket folder, …); empty without."""
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return []


def _url(home: Path) -> str | None:
    """The URL by what the server in `home` says of itself; None until it says so."""
    recorded = _pid_file(home / "cluster" / "data")
    if len(recorded) < 5 or not recorded[4]:
        return None
    password = (home / "cluster" / "password").read_text()
    folder = quote(os.fsencode(recorded[4]), safe="")
    return f"postgresql://{ROLE}:{password}@/{DATABASE}?host={folder}&port={recorded[3]}"


def _is_postmaster(pid: int, data: Path) -> bool:
    """Whether process `pid` works in `data`, as a postmaster does. Process ids are reused, in containers at once."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data
    except PermissionError:
        return False  # a process of another user
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # no such process; or a system without /proc: believe the file


def _discard_traces(data: Path) -> None:
    """Remove what a server that was killed left and PostgreSQL would stumble over.

    It refuses to start when the process id in postmaster.pid is in use, whoever uses it now.
    """
    recorded = _pid_file(data)
    _remove_short_socket_folder(recorded)
    if recorded and not _is_postmaster(int(recorded[0]), data):
        (data / "postmaster.pid").unlink()


def _socket_folder(home: Path, account: Account) -> Path:
    """`home`, or a private folder with a short name where the socket's path would be too long or has characters
    that separate folders in PostgreSQL's settings."""
    if len(os.fsencode(home / _SOCKET)) <= _SOCKET_PATH_LIMIT and not set(str(home)) & set(',"'):
        return home
    folder = Path(
        tempfile.mkdtemp(prefix=Path(_SHORT_SOCKET_PREFIX).name, dir=Path(_SHORT_SOCKET_PREFIX).parent)
    )
    account.give(folder)
    return folder


def _remove_short_socket_folder(recorded: list[str]) -> None:
    if len(recorded) > 4 and recorded[4].startswith(_SHORT_SOCKET_PREFIX):
        shutil.rmtree(recorded[4], ignore_errors=True)


def _last_words(home: Path) -> str:
    """The ends of the start-up output and of the newest server log."""
    logs = sorted((home / "cluster" / "data" / "log").glob("*.log"), key=lambda log: log.stat().st_mtime)
    ends = [log.read_text(errors="replace").splitlines()[-10:] for log in (home / "start.log", *logs[-1:])]
    return "\n".join(line for end in ends for line in end)
