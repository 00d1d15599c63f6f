"""What stands in front of the application: bodies that are too large or do not come.

Pure ASGI: nothing is buffered, and nothing is known of what is behind.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from softprompt.server.answering import answer
from softprompt.server.refusal import Refusal


class BodyGuard:
    """Refuses bodies that are too large, however they are sent, and those that take too long.

    The application is told that the client has gone, and what it says to that is not sent: the refusal is.

    Args:
        app: what is behind it.
        limit: the most bytes of a body.
        larger: paths with another limit.
        seconds: how long a body may take; each second of it that brought `slowest` bytes is not counted.
        slowest: how many bytes a second are quick enough.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        larger: Mapping[str, int] | None = None,
        *,
        seconds: float = 30.0,
        slowest: int = 65_536,
    ):
        self.app, self.limit, self.larger = app, limit, dict(larger or {})
        self.seconds, self.slowest = seconds, slowest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, self.larger.get(scope["path"].rstrip("/"), self.limit), receive, send)
        if _declared(scope) > body.limit:
            await answer(body.too_large(), send)
            return
        try:
            await self.app(scope, body.receive, body.send)
        except Exception:
            if body.refusal is None:
                raise
        await body.finish()


class _Body:
    """One request's body on its way in, and what is said if it does not arrive."""

    def __init__(self, guard: BodyGuard, limit: int, receive: Receive, send: Send):
        self.guard, self.limit = guard, limit
        self.refusal: Refusal | None = None
        self._receive, self._send = receive, send
        self._began, self._size = time.monotonic(), 0
        self._is_whole, self._is_answered = False, False

    async def receive(self) -> Message:
        """The next piece, or word that the client has gone."""
        if self._is_whole:
            return await self._receive()
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        try:
            async with asyncio.timeout(self._left()):
                message = await self._receive()
        except TimeoutError:
            return self._refuse(Refusal(408, "the body did not arrive in time: send it faster", code="timeout"))
        self._size += len(message.get("body", b""))
        if self._size > self.limit:
            return self._refuse(self.too_large())
        self._is_whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send what the application says, unless it is about a body that was refused."""
        if self.refusal is not None and not self._is_answered:
            return
        self._is_answered = True
        await self._send(message)

    async def finish(self) -> None:
        """Say that the body was refused, if it was and nothing else was said."""
        if self.refusal is not None and not self._is_answered:
            await answer(self.refusal, self._send)

    def too_large(self) -> Refusal:
        """What is said to a body beyond the limit."""
        return Refusal(413, f"the body is larger than {self.limit:,} bytes, the most that is taken", code="too_large")

    def _left(self) -> float:
        return self.guard.seconds + self._size / self.guard.slowest - (time.monotonic() - self._began)

    def _refuse(self, refusal: Refusal) -> Message:
        self.refusal = refusal
        return {"type": "http.disconnect"}


def _declared(scope: Scope) -> float:
    """The bytes that a body says it has; 0 where it comes in chunks and does not say."""
    try:
        return float(Headers(scope=scope).get("content-length", "0"))
    except ValueError:
        return math.inf
