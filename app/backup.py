"""Backup and restore of the database with PostgreSQL's own tools; the keys folder is backed up apart."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url

from app.kernel.db import sqlalchemy_url
from app.kernel.errors import Conflict, Problem
from app.kernel.postgres_files import find_binaries
from app.kernel.text import Text


class ToolFailed(Problem):
    status, slug = 500, "backup-failed"
    title = Text("备份或恢复失败", "Backup or restore failed")


def dump(url: str, file: Path) -> None:
    """Write a consistent dump of the database, complete or not at all. Errors: ToolFailed."""
    unfinished = file.with_name(f".{file.name}.unfinished")
    _run(url, "pg_dump", "--format=custom", "--no-owner", f"--file={unfinished}")
    unfinished.rename(file)


def load(url: str, file: Path) -> None:
    """Read a dump into an empty database, whole or not at all. Errors: Conflict, ToolFailed."""
    engine = create_engine(sqlalchemy_url(url))
    try:
        if inspect(engine).get_table_names():
            raise Conflict(
                Text(
                    "数据库非空；请恢复到新的数据目录。",
                    "The database is not empty; restore into a new data folder.",
                )
            )
    finally:
        engine.dispose()
    # Extensions are made by the first migration too; their comments belong to the superuser.
    _run(
        url, "pg_restore", "--no-owner", "--no-comments", "--single-transaction", "--exit-on-error", str(file)
    )


def _run(url: str, tool: str, *arguments: str) -> None:
    parts = make_url(url)
    query = {key: value for key, value in parts.query.items() if isinstance(value, str)}
    environment = {
        **os.environ,
        "PGHOST": query.get("host") or parts.host or "",
        "PGPORT": str(query.get("port") or parts.port or 5432),
        "PGUSER": parts.username or "",
        "PGPASSWORD": parts.password or "",
        "PGDATABASE": parts.database or "",
    }
    command = [str(find_binaries().bin_dir / tool), *arguments]
    if tool == "pg_restore":
        command.insert(1, f"--dbname={parts.database}")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["?"]
        raise ToolFailed(Text(f"{tool}：{said[0]}", f"{tool}: {said[0]}"))
