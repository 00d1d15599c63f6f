"""`/health` and `/ready`: for those who watch over the server. They need no key and tell nothing of anybody."""

from __future__ import annotations

from fastapi import APIRouter

from softprompt.server.failures import Draining, Failed
from softprompt.server.parts import Here

router = APIRouter(tags=["operation"])


@router.get("/health")
async def health(parts: Here) -> dict[str, str]:
    """Whether it lives: the thread that runs the model does."""
    if not parts.worker.is_alive:
        raise Failed
    return {"status": "ok"}


@router.get("/ready")
async def ready(parts: Here) -> dict[str, str]:
    """Whether it takes requests: 503 while it ends."""
    if parts.worker.is_draining:
        raise Draining
    return {"status": "ready"}
