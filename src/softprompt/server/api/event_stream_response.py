"""A stream of server-sent events in OpenAI's format: `data: {…}`, and `data: [DONE]` at its end.

Written by hand instead of FastAPI's `EventSourceResponse`. That one passes each event through a queue between two tasks
(measured: 390 µs of the event loop per event instead of 72), and an endpoint that uses it has sent its status before it
runs, so invalid requests could not be rejected with their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from softprompt.server.exception_handlers import to_api_error
from softprompt.server.request_errors import RequestError

logger = logging.getLogger(__name__)

SSE_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # proxies must not buffer the stream


class EventStreamResponse(StreamingResponse):
    """A response that streams chunks as events.

    Args:
        chunks: chunks to send.
        on_close: called at the end in every case, even if the client disconnects before the first chunk.
    """

    def __init__(self, chunks: AsyncIterator[BaseModel], on_close: Callable[[], None]):
        super().__init__(_encode_events(chunks), headers=SSE_HEADERS, media_type="text/event-stream")
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_close()


async def _encode_events(chunks: AsyncIterator[BaseModel]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield b"data: " + chunk.model_dump_json(exclude_unset=True).encode() + b"\n\n"
            await asyncio.sleep(0)  # lets other streams run between the chunks of a request with 128 responses
    except Exception as error:  # the status code has been sent
        if not isinstance(error, RequestError):
            logger.exception("streaming a response failed")
        yield b"data: " + to_api_error(error).to_json() + b"\n\n"
        return
    yield b"data: [DONE]\n\n"
