"""How much each tenant has been served, for who is served next.

These are virtual token counters (Sheng et al. 2023, arXiv 2401.00588). Most tenants have no request running or waiting,
so counters are kept of those that have one, and of those that were served more than they.
"""

from __future__ import annotations

from softprompt.least_first import LeastFirst

ABSENT = 1024  # tenants without a request whose counters are kept


class ServiceCounters:
    """Weighted service of each tenant; tenants with a request are "present", the others "absent".

    Every operation costs O(log N) on average for N present tenants.

    Args:
        absent: of how many absent tenants to keep counters; beyond that the lowest are dropped.
        credit: how far below the lowest counter of those present a tenant may come (as "warp" in borrowed virtual time:
            Duda & Cheriton 1999, doi 10.1145/319151.319169): who asks for little is served at once.
    """

    def __init__(self, absent: int = ABSENT, credit: float = 0.0):
        self._absent, self._credit = absent, credit
        self._counts: dict[str, float] = {}
        self._present = LeastFirst()

    def __len__(self) -> int:
        """Of how many tenants there is a count."""
        return len(self._counts)

    def __getitem__(self, tenant: str) -> float:
        """What a tenant was served; 0 of one that is not known."""
        return self._counts.get(tenant, 0.0)

    def charge(self, tenant: str, cost: float) -> None:
        """Add service to a tenant's counter, whether it is present or not."""
        self._counts[tenant] = self[tenant] + cost
        if tenant in self._present:
            self._present.set_key(tenant, (self._counts[tenant],))
        else:
            self._forget_absent()

    def enter(self, tenant: str) -> None:
        """A tenant is present from now on, and starts at the lowest counter of those present, less the credit."""
        if tenant not in self._present:
            self._counts[tenant] = max(self[tenant], self._lowest() - self._credit if self._present else 0.0)
            self._present.set_key(tenant, (self._counts[tenant],))

    def leave(self, tenant: str) -> None:
        """A tenant has no request any more. Once none has, all counters are reset."""
        self._present.discard(tenant)
        if not self._present:
            self._counts.clear()
        else:
            self._forget_absent()

    def _forget_absent(self) -> None:
        """Drop counters of absent tenants, once there are many.

        A counter at or below the lowest of those present changes nothing: `enter` would raise it to that one. Of those
        above it, the highest are kept.
        """
        if len(self._counts) <= len(self._present) + 2 * self._absent:  # so that each call costs little on average
            return
        lowest = self._lowest() - self._credit
        owing = [name for name, count in self._counts.items() if name not in self._present and count > lowest]
        kept = [*self._present, *sorted(owing, key=self.__getitem__, reverse=True)[: self._absent]]
        self._counts = {name: self[name] for name in kept}

    def _lowest(self) -> float:
        least = self._present.least()
        return 0.0 if least is None else least[1][0]
