"""Service counters: how much each tenant was served, which decides the tenant that is served next.

These are virtual token counters (Sheng et al. 2023, arXiv 2401.00588). Most tenants have no running or waiting request.
Counters are therefore kept only for active tenants and for inactive ones that were served more than the active ones.
"""

from __future__ import annotations

from softprompt.updatable_heap import UpdatableHeap

MAX_INACTIVE_TENANTS = 1024  # number of inactive tenants whose counters are kept


class ServiceCounters:
    """Weighted service of each tenant. Tenants with a request are active, the others inactive.

    Every operation costs O(log N) on average for N active tenants.

    Args:
        max_inactive: number of inactive tenants whose counters are kept; beyond that the lowest are dropped.
        credit: how far below the lowest counter of the active tenants a newly active tenant may start, so that a tenant
            with few requests is served at once ("warp" in borrowed virtual time: Duda & Cheriton 1999, doi
            10.1145/319151.319169).
    """

    def __init__(self, max_inactive: int = MAX_INACTIVE_TENANTS, credit: float = 0.0):
        self._max_inactive, self._credit = max_inactive, credit
        self._service: dict[str, float] = {}
        self._active = UpdatableHeap()

    def __len__(self) -> int:
        """Number of counters."""
        return len(self._service)

    def __getitem__(self, tenant: str) -> float:
        """Return a tenant's service; 0 for an unknown tenant."""
        return self._service.get(tenant, 0.0)

    def charge_tenant(self, tenant: str, cost: float) -> None:
        """Add to a tenant's counter, whether the tenant is active or not."""
        self._service[tenant] = self[tenant] + cost
        if tenant in self._active:
            self._active.set_key(tenant, (self._service[tenant],))
        else:
            self._evict_inactive()

    def activate_tenant(self, tenant: str) -> None:
        """Mark a tenant as active; its counter starts at the lowest of the active tenants, minus the credit."""
        if tenant not in self._active:
            self._service[tenant] = max(
                self[tenant], self._min_active_service() - self._credit if self._active else 0.0
            )
            self._active.set_key(tenant, (self._service[tenant],))

    def deactivate_tenant(self, tenant: str) -> None:
        """Mark a tenant as inactive. When no tenant is active, all counters are reset."""
        self._active.discard(tenant)
        if not self._active:
            self._service.clear()
        else:
            self._evict_inactive()

    def _evict_inactive(self) -> None:
        """Drop counters of inactive tenants if there are many.

        A counter at or below the lowest active one has no effect, since `activate_tenant` would raise it to that one.
        Of the others, the highest are kept.
        """
        if len(self._service) <= len(self._active) + 2 * self._max_inactive:  # amortized
            return
        lowest = self._min_active_service() - self._credit
        above = [name for name, count in self._service.items() if name not in self._active and count > lowest]
        retained = [*self._active, *sorted(above, key=self.__getitem__, reverse=True)[: self._max_inactive]]
        self._service = {name: self[name] for name in retained}

    def _min_active_service(self) -> float:
        first = self._active.peek_min()
        return 0.0 if first is None else first[1][0]
