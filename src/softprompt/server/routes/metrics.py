"""`/metrics`: what Prometheus reads. It names every tenant, so it takes a key that may do everything."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from softprompt.server.caller import Administering
from softprompt.server.keyed_route import KeyedRoute
from softprompt.server.metrics import CONTENT_TYPE, Metrics

router = APIRouter(route_class=KeyedRoute)


@router.get("/metrics", response_class=Response, tags=["server"])
async def metrics(request: Request, _: Administering) -> Response:
    """What was counted since the server began, in Prometheus' text format."""
    counted: Metrics = request.app.state.metrics
    return Response(counted.text(), media_type=CONTENT_TYPE)
