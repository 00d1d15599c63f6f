"""Routes that authenticate a request before its body is read; FastAPI itself parses the body first.

The tenant is then known, so tenants take turns on the event loop from there on (`event_loop_scheduler.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from softprompt.server.api.dependencies import (
    bearer_scheme,
    get_current_principal,
    get_state,
    require_admin_scope,
    require_manage_scope,
)
from softprompt.server.concurrency.event_loop_scheduler import EventLoopTurn

# In ascending order of strictness.
PRINCIPAL_DEPENDENCIES = (get_current_principal, require_manage_scope, require_admin_scope)


class AuthenticatedRoute(APIRoute):
    """A route that authenticates the request before its body is read, if an endpoint parameter is the principal."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's route handler with authentication and a turn of the event loop."""
        handle = super().get_route_handler()
        dependencies = set(_iter_dependencies(self.dependant))
        checks = [check for check in PRINCIPAL_DEPENDENCIES[1:] if check in dependencies]
        if not dependencies & set(PRINCIPAL_DEPENDENCIES):
            return handle

        async def authenticate_and_handle(request: Request) -> Response:
            """Authenticate the request, and handle it in a turn of its tenant."""
            state = await get_state(request)
            principal = await get_current_principal(request, state, await bearer_scheme(request))
            for check in checks:
                await check(principal)
            turn = request.state.turn = EventLoopTurn(state.loop_scheduler, principal.tenant)
            try:
                await turn.wait_turn()
                return await state.loop_scheduler.time_budget.charge_steps(principal.tenant, handle(request))
            finally:
                turn.end_turn()

        return authenticate_and_handle


def _iter_dependencies(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """Yield all dependencies of a route, recursively."""
    for dependency in dependant.dependencies:
        if dependency.call is not None:
            yield dependency.call
        yield from _iter_dependencies(dependency)
