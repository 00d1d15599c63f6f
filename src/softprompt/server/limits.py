"""How much each tenant may ask: requests a minute, and requests at once. It knows no FastAPI, and is given its clock.

A tenant's bucket holds as many requests as it may ask in a minute, and fills again evenly. A bucket that is full is
like one that was never there, so it is forgotten: what is kept is of tenants that asked within the last minute.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from softprompt.server.refusal import Refusal

MINUTE = 60.0


class TooManyRequests(Refusal):
    """A tenant asks more than it may.

    Args:
        problem: what it has too much of.
        seconds: after how many it may try again.
    """

    def __init__(self, problem: str, seconds: float):
        self.seconds = max(1, math.ceil(seconds))
        message = f"{problem}: try again in {self.seconds} s"
        headers = {"Retry-After": str(self.seconds)}
        super().__init__(429, message, kind="rate_limit_error", code="rate_limit_exceeded", headers=headers)


@dataclass
class _Account:
    """What a tenant has left.

    Attributes:
        left: requests, at the moment `at`.
        at: when that was, by the clock.
        running: requests that have begun and not ended.
    """

    left: float
    at: float
    running: int = 0


class Limits:
    """The same limits for every tenant, each for itself. Threads may share it.

    Args:
        a_minute: how many requests a tenant may begin in a minute, and at once after one; None for any number.
        at_once: how many may run; None for any number.
        tenants: of how many to keep count. Beyond them, the one that has not asked for longest begins anew.
        clock: gives seconds, from whenever.
    """

    def __init__(
        self,
        a_minute: int | None = None,
        at_once: int | None = None,
        tenants: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.a_minute, self.at_once, self.tenants, self._clock = a_minute, at_once, tenants, clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()  # who asked last stands last
        self._lock = threading.Lock()

    @contextmanager
    def holding(self, tenant: str) -> Iterator[None]:
        """One request of the tenant's, as long as it runs.

        Raises:
            TooManyRequests: it may not begin now.
        """
        account = self._begin(tenant)
        try:
            yield
        finally:
            with self._lock:
                account.running -= 1

    def running(self, tenant: str) -> int:
        """How many requests of a tenant run."""
        with self._lock:
            account = self._accounts.get(tenant)
            return 0 if account is None else account.running

    def __len__(self) -> int:
        """Of how many tenants count is kept."""
        return len(self._accounts)

    def _begin(self, tenant: str) -> _Account:
        with self._lock:
            account = self._filled(tenant)
            if self.at_once is not None and account.running >= self.at_once:
                raise TooManyRequests(f"{account.running} requests run already, as many as may", 1.0)
            if self.a_minute is not None:
                if account.left < 1:
                    raise TooManyRequests(
                        f"more than {self.a_minute} requests in a minute", (1 - account.left) * MINUTE / self.a_minute
                    )
                account.left -= 1
            account.running += 1
            return account

    def _filled(self, tenant: str) -> _Account:
        """The tenant's account as it is now."""
        now, full = self._clock(), float(self.a_minute or 0)
        account = self._accounts.get(tenant)
        if account is None:
            self._forget(now)
            account = self._accounts[tenant] = _Account(full, now)
        account.left = min(full, account.left + (now - account.at) * full / MINUTE)
        account.at = now
        self._accounts.move_to_end(tenant)
        return account

    def _forget(self, now: float) -> None:
        """Make room for one more: up to two go whose buckets are full again, or who have not asked for longest."""
        for _ in range(2):
            oldest = next((name for name, account in self._accounts.items() if not account.running), None)
            if oldest is None or (now - self._accounts[oldest].at < MINUTE and len(self._accounts) < self.tenants):
                return
            del self._accounts[oldest]
