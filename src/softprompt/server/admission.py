"""How many requests of each tenant may be taken on: as many as run, and so many that wait. It knows no FastAPI.

A tenant may have as many waiting as there is room left, so that there is always some for others (dynamic thresholds:
Choudhury & Hahne 1998, doi 10.1109/90.664262), as in `turns`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Admission:
    """Counts what each tenant has taken on and not finished. For one thread alone.

    Args:
        max_waiting: how many may wait.
    """

    def __init__(self, max_waiting: int):
        self._max_waiting = max_waiting
        self._counts = Counter[str]()
        self._total = 0

    def allowance(self, tenant: str, running: int, most: int = 1) -> int:
        """How many more a tenant may have now.

        Args:
            tenant: whose they are.
            running: how many can run at a time, of all tenants'; the others wait.
            most: what is told at most.
        """
        own, total = self._counts[tenant] - running, self._total - running
        return next((k for k in range(most) if max(0, own + k) >= self._max_waiting - max(0, total + k)), most)

    def add(self, tenant: str, count: int = 1) -> None:
        """Count what was taken on."""
        self._counts[tenant] += count
        self._total += count

    def remove(self, tenant: str, count: int = 1) -> None:
        """Count it no more; of a tenant that has nothing else, nothing is kept."""
        self._total -= count
        self._counts[tenant] -= count
        if not self._counts[tenant]:
            del self._counts[tenant]

    @contextmanager
    def holding(self, tenant: str, count: int = 1) -> Iterator[None]:
        """Count something as long as it takes."""
        self.add(tenant, count)
        try:
            yield
        finally:
            self.remove(tenant, count)

    def __len__(self) -> int:
        """Of how many tenants count is kept."""
        return len(self._counts)
