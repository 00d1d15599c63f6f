"""An application of the gate's parts alone, and how to run any application over real HTTP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from softprompt.server.caller import Gate
from softprompt.server.connection import Connection
from softprompt.server.failures import answer_failures
from softprompt.server.limits import Limits
from softprompt.server.loop_turns import LoopTurns
from softprompt.server.metrics import Metrics
from softprompt.server.routes import metrics, prompts
from softprompt.server.uploads import Uploads
from softprompt.store import Store


def gated(store: Store, *, uploads: Uploads | None = None, keys: bool = True, limits: Limits | None = None) -> FastAPI:
    """The routes that need a store and no engine."""
    app = FastAPI()
    app.state.store, app.state.uploads, app.state.metrics = store, uploads, Metrics()
    app.state.gate, app.state.turns = Gate(store.keys if keys else None, limits), LoopTurns()
    answer_failures(app)
    app.include_router(prompts.router)
    app.include_router(metrics.router)
    return app


@contextmanager
def serving(
    app: ASGIApp, protocol: type[Connection] = Connection, limit_concurrency: int | None = None
) -> Iterator[tuple[int, uvicorn.Server]]:
    """An application at a free port of this machine; gives the port and the server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            app, http=protocol, ws="none", lifespan="off", log_config=None, limit_concurrency=limit_concurrency
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            until(lambda: server.started)
            yield listening.getsockname()[1], server
        finally:
            server.should_exit = server.force_exit = True
            thread.join(60)
            assert not thread.is_alive()


def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for something that comes; a test fails where it does not."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)
