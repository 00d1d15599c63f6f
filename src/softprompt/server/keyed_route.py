"""Routes that ask for the key before anything else: FastAPI reads and parses a request's body first, and then asks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from softprompt.server.caller import administering, asking, bearer, managing

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
            """Find out who asks, and whether they may; then answer."""
            caller = await asking(request, await bearer(request))
            for check in checks:
                await check(caller)
            return await handle(request)

        return handle_with_key


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """Whatever a route depends on."""
    for each in dependant.dependencies:
        if each.call is not None:
            yield each.call
        yield from _calls(each)
