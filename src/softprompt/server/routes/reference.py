"""`/docs`: what can be asked of the server, as a page under the same policy as the other one."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse

from softprompt.server.reference import render_reference
from softprompt.server.routes.page import HEADERS

router = APIRouter(tags=["page"])


@router.get("/docs", include_in_schema=False)
async def reference(request: Request) -> HTMLResponse:
    """The page, which is made once."""
    app: FastAPI = request.app
    if not hasattr(app.state, "reference"):
        app.state.reference = render_reference(app.openapi())
    return HTMLResponse(app.state.reference, headers=HEADERS)
