"""The principal of a request: its tenant and its permissions."""

from __future__ import annotations

from dataclasses import dataclass, field

from softprompt.registry import ApiKeyScope
from softprompt.server.concurrency.tenant_rate_limiter import RateLimitLease
from softprompt.server.request_errors import MissingScope


@dataclass(frozen=True)
class Principal:
    """The principal of a request: the tenant that the request acts for, and its permissions.

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

    def require_scope(self, scope: ApiKeyScope) -> None:
        """Check that the principal has at least this scope.

        Raises:
            MissingScope: the API key lacks the scope.
        """
        if not self.has_scope(scope):
            raise MissingScope(scope)

    @property
    def actor(self) -> str:
        """Actor in the registry's audit log: `server`, or `key ID`."""
        return "server" if self.key_id is None else f"key {self.key_id}"
