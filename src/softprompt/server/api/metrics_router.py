"""`/metrics`: metrics for Prometheus. They name every tenant, so an administrator's key is required."""

from __future__ import annotations

from fastapi import APIRouter, Response

from softprompt.server.api.authenticated_route import AuthenticatedRoute
from softprompt.server.api.dependencies import AdminPrincipal, StateDep
from softprompt.server.server_metrics import CONTENT_TYPE

router = APIRouter(route_class=AuthenticatedRoute)


@router.get("/metrics", response_class=Response, tags=["monitoring"])
async def export_metrics(state: StateDep, _: AdminPrincipal) -> Response:
    """Export the metrics since the server's start in Prometheus' text format."""
    return Response(state.metrics.render_text(), media_type=CONTENT_TYPE)
