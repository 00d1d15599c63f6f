"""Dependencies of endpoints: the components of the server, and the principal of the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from softprompt.registry import ApiKeyScope
from softprompt.server.app_state import AppState
from softprompt.server.auth.principal import Principal

TENANT_HEADER = "X-Softprompt-Tenant"  #: header in which an administrator names the tenant to act for

bearer_scheme = HTTPBearer(auto_error=False, description="API key, created by `softprompt keys create`.")


async def get_state(request: Request) -> AppState:
    """Return the components of the server that received the request."""
    state: AppState = request.app.state.softprompt
    return state


StateDep = Annotated[AppState, Depends(get_state)]


async def get_ready_state(state: StateDep) -> AppState:
    """Return the components of the server, if the backend accepts requests.

    Raises:
        ServerShuttingDown: the server is shutting down.
        NoHealthyReplica: no replica is healthy.
    """
    state.backend.check_available()
    return state


ReadyStateDep = Annotated[AppState, Depends(get_ready_state)]


async def get_current_principal(
    request: Request,
    state: StateDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)],
) -> Principal:
    """Authenticate a request, with any scope. Runs once per request, before its body is read (`AuthenticatedRoute`).

    Raises:
        InvalidApiKey: the key is missing or invalid.
        MissingScope: the key may not act for the tenant.
    """
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None:
        secret = None if credentials is None else credentials.credentials
        tenant = request.headers.get(TENANT_HEADER)
        principal = request.state.principal = await state.authenticator.authenticate_key(secret, tenant)
    return principal


CurrentPrincipal = Annotated[Principal, Depends(get_current_principal)]


async def require_manage_scope(principal: CurrentPrincipal) -> Principal:
    """Require the scope to change the tenant's prompts.

    Raises:
        MissingScope: the API key lacks the scope.
    """
    principal.require_scope(ApiKeyScope.MANAGE)
    return principal


async def require_admin_scope(principal: CurrentPrincipal) -> Principal:
    """Require the administrator's scope.

    Raises:
        MissingScope: the API key lacks the scope.
    """
    principal.require_scope(ApiKeyScope.ADMIN)
    return principal


ManagePrincipal = Annotated[Principal, Depends(require_manage_scope)]
AdminPrincipal = Annotated[Principal, Depends(require_admin_scope)]


async def rate_limit_request(principal: CurrentPrincipal, state: StateDep) -> AsyncIterator[Principal]:
    """Charge a request to the tenant's rate limits until the whole response is sent.

    Raises:
        RateLimitExceeded: the tenant has reached a limit.
    """
    with state.rate_limiter.acquire_lease(principal.tenant) as lease:
        yield replace(principal, lease=lease)


async def rate_limit_manage_request(principal: ManagePrincipal, state: StateDep) -> AsyncIterator[Principal]:
    """Require the scope to change the tenant's prompts, and charge the request to the tenant's rate limits.

    Raises:
        MissingScope: the API key lacks the scope.
        RateLimitExceeded: the tenant has reached a limit.
    """
    with state.rate_limiter.acquire_lease(principal.tenant) as lease:
        yield replace(principal, lease=lease)


RateLimitedPrincipal = Annotated[Principal, Depends(rate_limit_request)]
RateLimitedManagePrincipal = Annotated[Principal, Depends(rate_limit_manage_request)]
