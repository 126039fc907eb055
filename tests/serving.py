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
        app = make(_url(listener))
        try:
            with _answering(app, listener) as url:
                yield url
        finally:
            app.state.index.close()


@contextmanager
def serving_app(app: FastAPI) -> Iterator[str]:
    """The URL at which an application answers that is there already, whatever URL it takes for its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener, _answering(app, listener) as url:
        yield url


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def _answering(app: FastAPI, listener: socket.socket) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while not server.started:
        assert time.monotonic() < deadline, "the service did not start"
        threading.Event().wait(0.01)
    try:
        yield _url(listener)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
