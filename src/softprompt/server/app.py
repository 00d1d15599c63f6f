"""The application: routes, guards in front of them, and what begins and ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from softprompt.server.caller import Gate
from softprompt.server.desk import apart
from softprompt.server.failures import answer_failures
from softprompt.server.guards import BodyGuard
from softprompt.server.limits import Limits
from softprompt.server.loopback import LoopbackGuard
from softprompt.server.measured import Measured
from softprompt.server.parts import Parts
from softprompt.server.routes import chat, classify, completions, health, metrics, models, page, prompts, reference
from softprompt.server.uploads import Uploads

ROUTES = (chat, completions, classify, models, prompts, page, reference, health, metrics)


def create_app(parts: Parts) -> FastAPI:
    """The application around the parts of a server. Its lifespan is that of who runs the model."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """Begins and ends with the application."""
        await parts.backend.start()
        try:
            yield
        finally:
            await parts.backend.stop()
            parts.desk.close()
            parts.builder.close()
            parts.grammars.close()

    settings = parts.settings
    app = FastAPI(
        title="softprompt",
        version=version("softprompt"),
        description="Prompts behind OpenAI's API: `model` names a prompt.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere; `routes/reference.py` has one without
        redoc_url=None,
    )
    uploads = Uploads(apart(parts.model), check=parts.backend.check, verify=parts.backend.verify)
    app.state.parts, app.state.metrics, app.state.store, app.state.uploads = parts, parts.metrics, parts.store, uploads
    app.state.turns = parts.turns
    app.state.gate = Gate(parts.store.keys if settings.keys else None, Limits(settings.a_minute, settings.at_once))
    answer_failures(app)
    for each in ROUTES:
        app.include_router(each.router)
    app.add_middleware(BodyGuard, limit=settings.largest_body, larger={"/v1/prompts": uploads.limits.total})
    if not settings.keys:
        app.add_middleware(LoopbackGuard)
    app.add_middleware(Measured, metrics=parts.metrics)
    return app
