"""Middleware that records the duration of requests. It is the outermost one, so that rejected requests count."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from softprompt.server.server_metrics import ServerMetrics

CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that disconnected before the response


class RequestMetricsMiddleware:
    """A middleware that records requests by route and status.

    Args:
        app: wrapped application.
        metrics: metrics of the server.
    """

    def __init__(self, app: ASGIApp, metrics: ServerMetrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request and record it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_at, status = time.monotonic(), CLIENT_CLOSED_REQUEST

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_record)
        finally:
            route = getattr(scope.get("route"), "path", "(none)")
            self.metrics.observe_request(route, status, time.monotonic() - started_at)
