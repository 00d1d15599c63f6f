"""Middleware that limits the size and the duration of request bodies.

Pure ASGI: nothing is buffered, and the middleware is independent of the application.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from softprompt.server.api_errors import ApiError
from softprompt.server.middleware.error_response import send_error_response


class BodyLimitMiddleware:
    """A middleware that rejects bodies that are too large or too slow, whether chunked or not.

    The application receives a disconnect, and its response to that is replaced by the error.

    Args:
        app: wrapped application.
        max_bytes: maximum bytes of a body.
        path_limits: maximum bytes by path, where they differ.
        timeout_s: maximum seconds of a body, once the application reads it; each `min_bytes_per_second` bytes extend
            them by a second.
        min_bytes_per_second: minimum rate of a slow body.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        path_limits: Mapping[str, int] | None = None,
        *,
        timeout_s: float = 30.0,
        min_bytes_per_second: int = 65_536,
    ):
        self.app, self.max_bytes, self.path_limits = app, max_bytes, dict(path_limits or {})
        self.timeout_s, self.min_bytes_per_second = timeout_s, min_bytes_per_second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _LimitedBody(self, self.path_limits.get(scope["path"].rstrip("/"), self.max_bytes), receive, send)
        if _get_content_length(scope) > body.max_bytes:
            await send_error_response(body.create_too_large_error(), send)
            return
        try:
            await self.app(scope, body.receive_message, body.send_message)
        except Exception:
            if body.error is None:
                raise
        await body.send_pending_error()


class _LimitedBody:
    """The body of one request: counts its bytes, enforces the timeout, and holds the error response."""

    def __init__(self, middleware: BodyLimitMiddleware, max_bytes: int, receive: Receive, send: Send):
        self.middleware, self.max_bytes = middleware, max_bytes
        self.error: ApiError | None = None
        self._receive, self._send = receive, send
        self._started_at: float | None = None  # time at which the application began to read
        self._num_received = 0
        self._is_complete, self._is_response_started = False, False

    async def receive_message(self) -> Message:
        """Receive the next part of the body, or a disconnect after an error."""
        if self._is_complete:
            return await self._receive()
        if self.error is not None:
            return {"type": "http.disconnect"}
        try:
            async with asyncio.timeout(self._get_remaining_seconds()):
                message = await self._receive()
        except TimeoutError:
            return self._reject_body(
                ApiError(408, "the body did not arrive in time: send the request faster", code="timeout")
            )
        self._num_received += len(message.get("body", b""))
        if self._num_received > self.max_bytes:
            return self._reject_body(self.create_too_large_error())
        self._is_complete = not message.get("more_body", False)
        return message

    async def send_message(self, message: Message) -> None:
        """Send a message of the application, unless the body was rejected."""
        if self.error is not None and not self._is_response_started:
            return
        self._is_response_started = True
        await self._send(message)

    async def send_pending_error(self) -> None:
        """Send the error of a rejected body, unless a response was started."""
        if self.error is not None and not self._is_response_started:
            await send_error_response(self.error, self._send)

    def create_too_large_error(self) -> ApiError:
        """Create the error of a body beyond the limit."""
        return ApiError(413, f"the body is larger than the maximum of {self.max_bytes:,} bytes", code="too_large")

    def _get_remaining_seconds(self) -> float:
        now = time.monotonic()
        if self._started_at is None:
            self._started_at = now
        max_seconds = self.middleware.timeout_s + self._num_received / self.middleware.min_bytes_per_second
        return max_seconds - (now - self._started_at)

    def _reject_body(self, error: ApiError) -> Message:
        self.error = error
        return {"type": "http.disconnect"}


def _get_content_length(scope: Scope) -> float:
    """Return the declared size of a body; 0 for a chunked body."""
    try:
        return float(Headers(scope=scope).get("content-length", "0"))
    except ValueError:
        return math.inf
