"""Admission control: limits the accepted requests of each tenant. Independent of FastAPI.

A tenant may have as many waiting requests as the queue has free places, so that other tenants always find some (dynamic
thresholds: Choudhury & Hahne 1998, doi 10.1109/90.664262), as in `FairQueue`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class TenantAdmission:
    """A counter of the accepted, unfinished requests of each tenant. Not thread-safe.

    Args:
        max_waiting: maximum requests that wait, of all tenants.
    """

    def __init__(self, max_waiting: int):
        self._max_waiting = max_waiting
        self._counts = Counter[str]()
        self._total = 0

    def get_allowance(self, tenant: str, num_running: int, max_count: int = 1) -> int:
        """Return how many more requests of a tenant can be accepted now.

        Args:
            tenant: tenant of the requests.
            num_running: requests that can run at the same time, of all tenants; the others wait.
            max_count: upper bound of the result.
        """
        tenant_waiting, all_waiting = self._counts[tenant] - num_running, self._total - num_running
        return next(
            (
                count
                for count in range(max_count)
                if max(0, tenant_waiting + count) >= self._max_waiting - max(0, all_waiting + count)
            ),
            max_count,
        )

    def add_requests(self, tenant: str, count: int = 1) -> None:
        """Count accepted requests."""
        self._counts[tenant] += count
        self._total += count

    def remove_requests(self, tenant: str, count: int = 1) -> None:
        """Remove finished requests, and the tenant with its last request."""
        self._total -= count
        self._counts[tenant] -= count
        if not self._counts[tenant]:
            del self._counts[tenant]

    @contextmanager
    def track_requests(self, tenant: str, count: int = 1) -> Iterator[None]:
        """Count requests within a context."""
        self.add_requests(tenant, count)
        try:
            yield
        finally:
            self.remove_requests(tenant, count)

    def __len__(self) -> int:
        """Return the number of tenants with accepted requests."""
        return len(self._counts)
