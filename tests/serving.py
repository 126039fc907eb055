"""The application on a free port of this machine, for clients that are programs of their own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

PATIENCE_S = 20


@contextmanager
def serving(make: Callable[[str], FastAPI]) -> Iterator[str]:
    """The URL at which the application answers that `make` builds for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = make(url)
        server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while not server.started:
            assert time.monotonic() < deadline, "the service did not start"
            threading.Event().wait(0.01)
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            app.state.index.close()
