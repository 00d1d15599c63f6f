"""Routes that ask for the key before anything else: FastAPI reads and parses a request's body first, and then asks.

Whose request it is known then, so tenants take turns at what comes next (`loop_turns.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from softprompt.server.caller import administering, asking, bearer, managing
from softprompt.server.loop_turns import Turn

WHO = (asking, managing, administering)  # those that say who asks; each says no to more of them than the one before


class KeyedRoute(APIRoute):
    """A route whose caller is known before its body is read, if any of its parameters is the caller."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own way of answering a request, and the key in front of it."""
        handle = super().get_route_handler()
        wanted = set(_calls(self.dependant))
        checks = [check for check in WHO[1:] if check in wanted]
        if not wanted & set(WHO):
            return handle

        async def handle_with_key(request: Request) -> Response:
            """Find out who asks, and whether they may; answer when it is their turn."""
            caller = await asking(request, await bearer(request))
            for check in checks:
                await check(caller)
            turn = request.state.turn = Turn(request.app.state.turns, caller.tenant)
            try:
                await turn.take()
                return await handle(request)
            finally:
                turn.end()

        return handle_with_key


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """Whatever a route depends on."""
    for each in dependant.dependencies:
        if each.call is not None:
            yield each.call
        yield from _calls(each)
