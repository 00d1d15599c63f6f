"""How long requests take, by their route and status: in front of everything else, so that refusals count too."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from softprompt.server.metrics import Metrics

GONE = 499  # the client, before it was answered; the number is nginx's


class Measured:
    """Counts requests by their route and status.

    Args:
        app: what is behind it.
        metrics: what counts them.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), GONE

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "(none)")
            self.metrics.request(route, status, time.monotonic() - began)
