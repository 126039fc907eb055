"""The control plane as a process: `python -m app.api HOST PORT`, told the rest by its environment."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import uvicorn

from app.accounts import service_database
from app.kernel.logs import log_as_json
from app.main import create_app
from app.processes import STOP_WITHIN_S, die_with_parent
from app.settings import Settings, keys_of, settings_from_environment

CONNECTION_LIMIT = 1000


def run_api(settings: Settings, host: str, port: int) -> None:
    """Serve the control plane in this process until it is told to stop."""
    die_with_parent()
    database = service_database(settings.database_url)
    app = create_app(settings, database, keys_of(settings))
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=int(STOP_WITHIN_S), limit_concurrency=CONNECTION_LIMIT, h11_max_incomplete_event_size=64 << 10,
    )  # fmt: skip
    try:
        uvicorn.Server(config).run()
    finally:
        database.close()


if __name__ == "__main__":
    log_as_json(logging.getLevelNamesMapping()[os.environ.get("ZHENGTONG_LOG", "warning").upper()])
    own = settings_from_environment(Path(os.environ["ZHENGTONG_DATA"]), os.environ["ZHENGTONG_DATABASE_URL"])
    run_api(own, sys.argv[1], int(sys.argv[2]))
