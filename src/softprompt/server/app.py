"""The FastAPI application: routers, middleware, exception handlers and the lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from softprompt.server.api import (
    chat_router,
    classification_router,
    completions_router,
    health_router,
    metrics_router,
    models_router,
    playground_router,
    prompts_router,
    reference_router,
)
from softprompt.server.app_state import AppState
from softprompt.server.exception_handlers import register_exception_handlers
from softprompt.server.middleware.body_limit import BodyLimitMiddleware
from softprompt.server.middleware.loopback_only import LoopbackOnlyMiddleware
from softprompt.server.middleware.request_metrics import RequestMetricsMiddleware

ROUTER_MODULES = (
    chat_router,
    completions_router,
    classification_router,
    models_router,
    prompts_router,
    playground_router,
    reference_router,
    health_router,
    metrics_router,
)


def create_app(state: AppState) -> FastAPI:
    """Create the application of a server. Its lifespan starts and stops the backend."""

    @asynccontextmanager
    async def run_lifespan(_: FastAPI) -> AsyncIterator[None]:
        """Start the backend with the application, and stop it and the threads at the end."""
        await state.backend.start()
        try:
            yield
        finally:
            await state.backend.stop()
            state.prompt_renderer.close()
            state.response_builder.close()
            state.grammar_compiler.close()

    config = state.config
    app = FastAPI(
        title="softprompt",
        version=version("softprompt"),
        description="OpenAI's API for soft prompts: `model` names a prompt.",
        lifespan=run_lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from a CDN; `api/reference_router.py` does not
        redoc_url=None,
    )
    app.state.softprompt = state
    register_exception_handlers(app, state.metrics)
    for module in ROUTER_MODULES:
        app.include_router(module.router)
    app.add_middleware(
        BodyLimitMiddleware,
        max_bytes=config.max_body_bytes,
        path_limits={"/v1/prompts": state.upload_validator.limits.max_request_bytes},
    )
    if not config.auth_enabled:
        app.add_middleware(LoopbackOnlyMiddleware)
    app.add_middleware(RequestMetricsMiddleware, metrics=state.metrics)
    return app
