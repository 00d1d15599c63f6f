"""`/health` and `/ready`: liveness and readiness probes. They need no key and reveal nothing about tenants."""

from __future__ import annotations

from fastapi import APIRouter

from softprompt.server.api.dependencies import StateDep
from softprompt.server.request_errors import InferenceFailed

router = APIRouter(tags=["monitoring"])


@router.get("/health")
async def check_health(state: StateDep) -> dict[str, str]:
    """Report liveness: 200 unless the backend has failed permanently."""
    if not state.backend.is_alive:
        raise InferenceFailed
    return {"status": "ok"}


@router.get("/ready")
async def check_readiness(state: StateDep) -> dict[str, str]:
    """Report readiness: 503 during shutdown, or while no replica is available."""
    state.backend.check_available()
    return {"status": "ready"}
