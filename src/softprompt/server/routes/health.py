"""`/health` and `/ready`: for those who watch over the server. They need no key and tell nothing of anybody."""

from __future__ import annotations

from fastapi import APIRouter

from softprompt.server.failures import Failed
from softprompt.server.parts import Here

router = APIRouter(tags=["operation"])


@router.get("/health")
async def health(parts: Here) -> dict[str, str]:
    """Whether it lives: who runs the model has not failed for good."""
    if not parts.backend.is_alive:
        raise Failed
    return {"status": "ok"}


@router.get("/ready")
async def ready(parts: Here) -> dict[str, str]:
    """Whether it takes requests: 503 while it ends, or nobody is there who runs the model."""
    if (refusal := parts.backend.closed) is not None:
        raise refusal
    return {"status": "ready"}
