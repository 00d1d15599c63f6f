"""A minimal application without an engine, and a way to run any application over real HTTP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from softprompt.registry import PromptRegistry
from softprompt.server.api import metrics_router, prompts_router
from softprompt.server.app_state import AppState
from softprompt.server.auth.authenticator import Authenticator
from softprompt.server.concurrency.event_loop_scheduler import EventLoopScheduler
from softprompt.server.concurrency.tenant_rate_limiter import TenantRateLimiter
from softprompt.server.exception_handlers import register_exception_handlers
from softprompt.server.prompts.upload_validator import UploadValidator
from softprompt.server.runtime.timeout_http_protocol import TimeoutHttpProtocol
from softprompt.server.server_metrics import ServerMetrics


def state_of(**components: Any) -> AppState:
    """Make the state of a server with these components alone."""
    state: AppState = Mock(spec=AppState, **components)
    return state


def gated(
    store: PromptRegistry,
    *,
    uploads: UploadValidator | None = None,
    keys: bool = True,
    limits: TenantRateLimiter | None = None,
) -> FastAPI:
    """Make an application of the routes that need a registry and no engine."""
    app = FastAPI()
    app.state.softprompt = state_of(
        registry=store,
        upload_validator=uploads,
        metrics=ServerMetrics(),
        authenticator=Authenticator(store.api_keys if keys else None),
        rate_limiter=TenantRateLimiter() if limits is None else limits,
        loop_scheduler=EventLoopScheduler(),
    )
    register_exception_handlers(app, app.state.softprompt.metrics)
    app.include_router(prompts_router.router)
    app.include_router(metrics_router.router)
    return app


@contextmanager
def serving(
    app: ASGIApp, protocol: type[TimeoutHttpProtocol] = TimeoutHttpProtocol, limit_concurrency: int | None = None
) -> Iterator[tuple[int, uvicorn.Server]]:
    """Run an application on a free port of this machine; yield the port and the server."""
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
    """Wait until a condition holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)
