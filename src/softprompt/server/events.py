"""A stream of events (SSE) as OpenAI's clients read it: `data: {…}`, and `data: [DONE]` at its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from softprompt.server.failures import Failed
from softprompt.server.refusal import Refusal

logger = logging.getLogger(__name__)

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # proxies are not to hold anything back


class EventStream(StreamingResponse):
    """Chunks as they come.

    Args:
        chunks: what to send.
        close: is called in the end, however it ends; also if the client goes away before the first.
    """

    def __init__(self, chunks: AsyncIterator[BaseModel], close: Callable[[], None]):
        super().__init__(_events(chunks), headers=HEADERS, media_type="text/event-stream")
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


async def _events(chunks: AsyncIterator[BaseModel]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield b"data: " + chunk.model_dump_json(exclude_unset=True).encode() + b"\n\n"
            await asyncio.sleep(0)  # others' streams go on between two of 128 responses to one request
    except Refusal as refusal:  # the status is sent already
        yield b"data: " + refusal.json() + b"\n\n"
        return
    except Exception:
        logger.exception("a stream failed")
        yield b"data: " + Failed().json() + b"\n\n"
        return
    yield b"data: [DONE]\n\n"
