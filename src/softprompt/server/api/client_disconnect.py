"""Cancellation of the work of a request whose client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request

from softprompt.server.api_errors import ApiError
from softprompt.server.concurrency.event_loop_scheduler import EventLoopTurn

T = TypeVar("T")


async def cancel_on_disconnect(request: Request, awaitable: Awaitable[T]) -> T:
    """Await work outside of the request's turn of the event loop, and cancel the work if the client disconnects.

    Raises:
        ApiError: the client has disconnected.
    """
    turn: EventLoopTurn = request.state.turn
    turn.end_turn()
    work, disconnect = asyncio.ensure_future(awaitable), asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait({work, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            result = work.result()
            await turn.wait_turn()
            return result
        raise ApiError(499, "The client has disconnected.")
    finally:
        work.cancel()
        disconnect.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
