"""`/metrics`: metrics for Prometheus. They name every tenant, so an administrator's key is required."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from softprompt.server.auth.authenticated_route import AuthenticatedRoute
from softprompt.server.auth.authenticator import AdminPrincipal
from softprompt.server.server_metrics import CONTENT_TYPE, ServerMetrics

router = APIRouter(route_class=AuthenticatedRoute)


@router.get("/metrics", response_class=Response, tags=["monitoring"])
async def export_metrics(request: Request, _: AdminPrincipal) -> Response:
    """Export the metrics since the server's start in Prometheus' text format."""
    metrics: ServerMetrics = request.app.state.metrics
    return Response(metrics.render_text(), media_type=CONTENT_TYPE)
