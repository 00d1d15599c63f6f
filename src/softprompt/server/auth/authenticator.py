"""Authentication: from the API key of a request to its principal, the tenant and what the tenant may do.

Successful lookups are cached for one second, so most requests need no database query and a revoked key stops working
within a second. Failed lookups are not cached, so new keys work immediately.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from softprompt.registry import DEFAULT_TENANT, ApiKey, ApiKeyRegistry, ApiKeyScope
from softprompt.registry.prompt_reference import validate_name
from softprompt.server.concurrency.tenant_rate_limiter import RateLimitLease, TenantRateLimiter
from softprompt.server.request_errors import InvalidApiKey, MissingScope

TENANT_HEADER = "X-Softprompt-Tenant"  #: header in which an administrator names the tenant to act for
KEY_CACHE_TTL_S = 1.0
KEY_CACHE_SIZE = 10_000


@dataclass(frozen=True)
class Principal:
    """The principal of a request: on behalf of which tenant the request is made, and what it may do.

    Attributes:
        tenant: name of the tenant, whose prompts are the only ones that the request can use.
        scope: scope of the API key.
        key_id: id of the API key; None for a server without keys.
        lease: the request's share of the tenant's rate limits; None where the request does not count.
    """

    tenant: str
    scope: ApiKeyScope
    key_id: str | None = None
    lease: RateLimitLease | None = field(default=None, compare=False)

    def charge_sequences(self, num_sequences: int) -> None:
        """Charge the request's responses or texts to the tenant's rate limits.

        Raises:
            RateLimitExceeded: the tenant has reached a limit.
            TooManySequences: the request alone exceeds a limit.
        """
        if self.lease is not None:
            self.lease.charge_sequences(num_sequences)

    def has_scope(self, scope: ApiKeyScope) -> bool:
        """Whether the principal has at least this scope."""
        return self.scope.includes(scope)

    @property
    def actor(self) -> str:
        """Actor in the registry's audit log: `server`, or `key ID`."""
        return "server" if self.key_id is None else f"key {self.key_id}"


class ApiKeyCache:
    """A cache of successful API key lookups. Thread-safe.

    Args:
        keys: API keys of the registry.
        clock: monotonic clock, in seconds.
    """

    def __init__(self, keys: ApiKeyRegistry, clock: Callable[[], float] = time.monotonic):
        self._keys, self._clock = keys, clock
        self._entries: OrderedDict[bytes, tuple[ApiKey, float]] = (
            OrderedDict()
        )  # by hash of the secret, the newest last
        self._lock = threading.Lock()

    def get_cached_key(self, secret: str) -> ApiKey | None:
        """Return a valid key that was looked up within the last second, else None."""
        with self._lock:
            key, expires_at = self._entries.get(_hash_secret(secret), (None, 0.0))
        return key if key is not None and self._clock() < expires_at and key.is_valid() else None

    def look_up_key(self, secret: str) -> ApiKey | None:
        """Look up a key in the registry and cache it; None for an invalid key. Reads the database."""
        looked_up_at = self._clock()  # before the query: the key may be revoked right after
        key, digest = self._keys.authenticate_secret(secret), _hash_secret(secret)
        with self._lock:
            self._entries.pop(digest, None)
            if key is not None:
                self._entries[digest] = key, looked_up_at + KEY_CACHE_TTL_S
            while len(self._entries) > KEY_CACHE_SIZE:
                self._entries.popitem(last=False)
        return key


class Authenticator:
    """The authenticator of a server: API keys and rate limits.

    Args:
        keys: API keys of the registry; None to accept every request, for servers on loopback only.
        rate_limiter: rate limits of the tenants; None for no limits.
    """

    def __init__(self, keys: ApiKeyRegistry | None, rate_limiter: TenantRateLimiter | None = None):
        self._key_cache = None if keys is None else ApiKeyCache(keys)
        self.rate_limiter = TenantRateLimiter() if rate_limiter is None else rate_limiter

    async def authenticate_key(self, secret: str | None, tenant: str | None = None) -> Principal:
        """Authenticate an API key.

        Args:
            secret: API key of the request, if any.
            tenant: tenant that an administrator acts for, if any.

        Raises:
            InvalidApiKey: the key is missing or invalid.
            MissingScope: the key may not act for the tenant.
            SettingError: the tenant's name is invalid.
        """
        principal = (
            Principal(DEFAULT_TENANT, ApiKeyScope.ADMIN)
            if self._key_cache is None
            else await _authenticate_secret(self._key_cache, secret)
        )
        if tenant is None or tenant == principal.tenant:
            return principal
        if not principal.has_scope(ApiKeyScope.ADMIN):
            raise MissingScope(ApiKeyScope.ADMIN)
        return Principal(validate_name("tenant", tenant), principal.scope, principal.key_id)


async def _authenticate_secret(key_cache: ApiKeyCache, secret: str | None) -> Principal:
    key = None
    if secret is not None:
        key = key_cache.get_cached_key(secret) or await run_in_threadpool(key_cache.look_up_key, secret)
    if key is None:
        raise InvalidApiKey
    return Principal(key.tenant, key.scope, key.id)


def _hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


bearer_scheme = HTTPBearer(auto_error=False, description="API key, created by `softprompt keys create`.")


async def get_current_principal(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]
) -> Principal:
    """Authenticate a request, with any scope. Runs once per request, before its body is read (`AuthenticatedRoute`)."""
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None:
        authenticator: Authenticator = request.app.state.authenticator
        secret = None if credentials is None else credentials.credentials
        tenant = request.headers.get(TENANT_HEADER)
        principal = request.state.principal = await authenticator.authenticate_key(secret, tenant)
    return principal


CurrentPrincipal = Annotated[Principal, Depends(get_current_principal)]


async def require_manage_scope(principal: CurrentPrincipal) -> Principal:
    """Require the scope to change the tenant's prompts.

    Raises:
        MissingScope: the API key lacks the scope.
    """
    return _require_scope(principal, ApiKeyScope.MANAGE)


async def require_admin_scope(principal: CurrentPrincipal) -> Principal:
    """Require the administrator's scope.

    Raises:
        MissingScope: the API key lacks the scope.
    """
    return _require_scope(principal, ApiKeyScope.ADMIN)


async def rate_limit_request(request: Request, principal: CurrentPrincipal) -> AsyncIterator[Principal]:
    """Charge a request to the tenant's rate limits until the whole response is sent.

    Raises:
        RateLimitExceeded: the tenant has reached a limit.
    """
    authenticator: Authenticator = request.app.state.authenticator
    with authenticator.rate_limiter.acquire_lease(principal.tenant) as lease:
        yield replace(principal, lease=lease)


async def rate_limit_manage_request(
    request: Request, principal: Annotated[Principal, Depends(require_manage_scope)]
) -> AsyncIterator[Principal]:
    """Require the scope to change the tenant's prompts, and charge the request to the tenant's rate limits.

    Raises:
        MissingScope: the API key lacks the scope.
        RateLimitExceeded: the tenant has reached a limit.
    """
    async for rate_limited_principal in rate_limit_request(request, principal):
        yield rate_limited_principal


ManagePrincipal = Annotated[Principal, Depends(require_manage_scope)]
AdminPrincipal = Annotated[Principal, Depends(require_admin_scope)]
RateLimitedPrincipal = Annotated[Principal, Depends(rate_limit_request)]
RateLimitedManagePrincipal = Annotated[Principal, Depends(rate_limit_manage_request)]


def _require_scope(principal: Principal, scope: ApiKeyScope) -> Principal:
    if not principal.has_scope(scope):
        raise MissingScope(scope)
    return principal
