"""`/docs`: the API reference, under the same content security policy as the playground."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse

from softprompt.server.api.openapi_reference import render_openapi_reference
from softprompt.server.api.playground_router import SECURITY_HEADERS

router = APIRouter(tags=["playground"])


@router.get("/docs", include_in_schema=False)
async def get_api_reference(request: Request) -> HTMLResponse:
    """Return the API reference, which is rendered once."""
    app: FastAPI = request.app
    if not hasattr(app.state, "api_reference"):
        app.state.api_reference = render_openapi_reference(app.openapi())
    return HTMLResponse(app.state.api_reference, headers=SECURITY_HEADERS)
