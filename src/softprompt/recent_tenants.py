"""Tenants that sent requests recently, and may soon send more. Imports no torch."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection

WINDOW_S = 10.0


class RecentTenants:
    """Tenants that sent a request within a time window. Not thread-safe.

    Args:
        seconds: length of the time window.
        clock: returns the time in seconds.
    """

    def __init__(self, seconds: float = WINDOW_S, clock: Callable[[], float] = time.monotonic):
        self._seconds, self._clock = seconds, clock
        self._request_times: OrderedDict[str, float] = OrderedDict()  # in ascending order

    def __len__(self) -> int:
        """Number of tenants in the window."""
        return len(self._request_times)

    def add_request(self, tenant: str) -> None:
        """Record that a tenant sent a request now."""
        self._request_times[tenant] = self._clock()
        self._request_times.move_to_end(tenant)
        self._drop_expired()

    def has_others(self, tenants: Collection[str]) -> bool:
        """Whether tenants other than the given ones sent requests recently."""
        self._drop_expired()
        return len(self._request_times) > len(tenants) or any(tenant not in tenants for tenant in self._request_times)

    def _drop_expired(self) -> None:
        oldest = self._clock() - self._seconds
        while self._request_times and next(iter(self._request_times.values())) < oldest:
            self._request_times.popitem(last=False)
