"""Authentication: from the API key of a request to its principal."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool

from softprompt.registry import DEFAULT_TENANT, ApiKeyRegistry, ApiKeyScope
from softprompt.registry.prompt_reference import validate_name
from softprompt.server.auth.api_key_cache import ApiKeyCache
from softprompt.server.auth.principal import Principal
from softprompt.server.request_errors import InvalidApiKey


class Authenticator:
    """The authenticator of a server.

    Args:
        keys: API keys of the registry; None to accept every request, for servers on loopback only.
    """

    def __init__(self, keys: ApiKeyRegistry | None):
        self._key_cache = None if keys is None else ApiKeyCache(keys)

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
        principal.require_scope(ApiKeyScope.ADMIN)
        return Principal(validate_name("tenant", tenant), principal.scope, principal.key_id)


async def _authenticate_secret(key_cache: ApiKeyCache, secret: str | None) -> Principal:
    key = None
    if secret is not None:
        key = key_cache.get_cached_key(secret) or await run_in_threadpool(key_cache.look_up_key, secret)
    if key is None:
        raise InvalidApiKey
    return Principal(key.tenant, key.scope, key.id)
