"""What every benchmark stands on: the machine's line, a database of its own, samples of time, a table.

Owns how figures are taken and shown. Refuses none: what they mean is said beside them.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psycopg
from sqlalchemy import make_url

from app.kernel.db import Database
from app.kernel.postgres import EmbeddedPostgres
from app.migrate import migrate

T = TypeVar("T")
Clock = Callable[[], float]  # CPU seconds used so far


@dataclass(slots=True)
class Samples:
    """Seconds of wall time of each call, and of CPU over all of them."""

    wall: list[float] = field(default_factory=list)
    cpu: float = 0.0

    def take(self, call: Callable[[], T], cpu: Clock = time.process_time) -> T:
        """Do it once and note what it took."""
        before, started = cpu(), time.perf_counter()
        result = call()
        self.wall.append(time.perf_counter() - started)
        self.cpu += cpu() - before
        return result

    def percentile_ms(self, percent: float) -> float:
        """The wall time that `percent` of the calls do not exceed."""
        ordered = sorted(self.wall)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    @property
    def cpu_ms(self) -> float:
        """CPU time of one call on average."""
        return 1000 * self.cpu / len(self.wall)


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What it gave, and the seconds of wall time it took."""
    started = time.perf_counter()
    return call(), time.perf_counter() - started


def server_cpu(connection: psycopg.Connection) -> Clock:
    """CPU seconds of the connection's server process and our own; where there is no /proc, of ours alone."""
    ticks = os.sysconf("SC_CLK_TCK")
    exact = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    coarse = Path(f"/proc/{connection.info.backend_pid}/stat")

    def cpu() -> float:
        used = 0.0
        if exact.exists():
            used = int(exact.read_text().split()[0]) / 1e9
        elif coarse.exists():
            used = sum(map(int, coarse.read_text().rpartition(")")[2].split()[11:13])) / ticks
        return used + time.process_time()

    return cpu


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder that is gone afterwards. Open to pass through, because PostgreSQL runs as another account for root."""
    folder = Path(tempfile.mkdtemp(prefix="zhengtong-bench-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def own_server(folder: Path) -> Iterator[str]:
    """URL of a PostgreSQL with the settings of the product: every commit waits for the disk."""
    with EmbeddedPostgres(folder / "postgres") as server:
        yield server.url


@contextmanager
def own_database(server: str, name: str) -> Iterator[Database]:
    """A migrated database of this name."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    migrate(url)
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


def machine() -> str:
    """What this ran on, in one line: no figure means anything without it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{cores} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load before: {load:.1f}"
    )


def server_version(server: str) -> str:
    """`PostgreSQL 18.1`."""
    with psycopg.connect(server) as connection:
        return f"PostgreSQL {connection.info.parameter_status('server_version')}"


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | float]], note: str = "") -> None:
    """Print a table; numbers stand right, with three digits that count."""
    lines = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[n]) for line in [list(columns), *lines]) for n in range(len(columns))]
    print(f"\n{title}")
    for line in [list(columns), *lines]:
        cells = [
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
    if note:
        print(f"  {note}")
    sys.stdout.flush()


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
