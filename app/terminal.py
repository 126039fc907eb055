"""What every command of the command line shares: --data, --json, exit codes 0, 1, 2, both languages."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from app.settings import Settings, data_folder

if TYPE_CHECKING:
    from app.kernel.db import Database

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Data = Annotated[Path | None, typer.Option("--data", help="数据目录 data folder (ZHENGTONG_DATA, ./var)")]
Json = Annotated[bool, typer.Option("--json", help="以 JSON 输出 print JSON")]
LOCALE = "en" if os.environ.get("LANG", "").lower().startswith("en") else "zh-CN"


@contextmanager
def opened(data: Path | None, *, migrated: bool = True) -> Iterator[tuple[Settings, Database]]:
    """Settings and database of a data folder, brought to this release; works beside a running service."""
    from app.kernel.db import Database
    from app.serve import open_database
    from app.settings import settings_from_environment

    folder = data_folder(data)
    with open_database(folder) as url:
        if migrated:
            from app.migrate import migrate

            migrate(url)
        database = Database(url, pool_size=4)
        try:
            yield settings_from_environment(folder, url), database
        finally:
            database.close()


def finish(result: Mapping[str, Any], lines: list[str], *, as_json: bool, ok: bool = True) -> NoReturn:
    """Print the result and leave with 0, or with 1 where something was refused or found."""
    if as_json:
        out.print_json(json.dumps(result, ensure_ascii=False, default=str))
    else:
        for line in lines:
            out.print(line, markup=False)
    raise typer.Exit(0 if ok else 1)


def pick(chinese: str, english: str) -> str:
    return english if LOCALE == "en" else chinese
