"""How much each tenant has been served, for who is served next. Knows no torch.

These are virtual token counters (Sheng et al. 2023, arXiv 2401.00588). Most tenants have no request running or waiting,
so counters are kept of those that have one, and of those that were served more than they.
"""

from __future__ import annotations

from collections.abc import Collection

ABSENT = 1024  # tenants without a request whose counters are kept


class TokenCounters:
    """Weighted tokens that each tenant was served; tenants with a request are "present", the others "absent".

    Args:
        absent: of how many absent tenants to keep counters; beyond that the lowest are dropped.
    """

    def __init__(self, absent: int = ABSENT):
        self._absent = absent
        self._counts: dict[str, float] = {}

    def __len__(self) -> int:
        """Of how many tenants there is a count."""
        return len(self._counts)

    def __getitem__(self, tenant: str) -> float:
        """What a tenant was served; 0 of one that is not known."""
        return self._counts.get(tenant, 0.0)

    def add(self, tenant: str, tokens: float) -> None:
        """A tenant was served so much."""
        self._counts[tenant] = self[tenant] + tokens

    def join(self, tenant: str, present: Collection[str]) -> None:
        """Count a tenant that was absent: it keeps no credit, and starts at the lowest counter of those present."""
        self._counts[tenant] = max(self[tenant], self._least(present))

    def forget(self, present: Collection[str]) -> None:
        """Drop counters of absent tenants, once there are many.

        A counter at or below the lowest of those present changes nothing: `join` would raise it to that one. Of those
        above it, the highest are kept.
        """
        if len(self._counts) <= len(present) + 2 * self._absent:  # so that each call costs little on average
            return
        least = self._least(present)
        owing = [each for each, count in self._counts.items() if each not in present and count > least]
        kept = [*present, *sorted(owing, key=self.__getitem__, reverse=True)[: self._absent]]
        self._counts = {each: self[each] for each in kept}

    def clear(self) -> None:
        """Reset all counters: no tenant has a request."""
        self._counts.clear()

    def _least(self, present: Collection[str]) -> float:
        return min(map(self.__getitem__, present), default=0.0)
