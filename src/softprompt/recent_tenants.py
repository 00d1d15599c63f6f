"""Which tenants asked for something lately: they may come again, and should not wait for long. Knows no torch."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection

SECONDS = 10.0


class RecentTenants:
    """Tenants that asked within the last seconds. For one thread.

    Args:
        seconds: how long a tenant counts.
        clock: gives seconds.
    """

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic):
        self._seconds, self._clock = seconds, clock
        self._asked: OrderedDict[str, float] = OrderedDict()  # who asked last stands last

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._asked)

    def add(self, tenant: str) -> None:
        """A tenant asks now."""
        self._asked[tenant] = self._clock()
        self._asked.move_to_end(tenant)
        self._forget()

    def has_others(self, tenants: Collection[str]) -> bool:
        """Whether any tenant that is not among these asked lately."""
        self._forget()
        return len(self._asked) > len(tenants) or any(tenant not in tenants for tenant in self._asked)

    def _forget(self) -> None:
        oldest = self._clock() - self._seconds
        while self._asked and next(iter(self._asked.values())) < oldest:
            self._asked.popitem(last=False)
