"""Limit on the share of Python's time that the requests of one tenant may use while other tenants are active.

Only one thread runs Python code at a time. So parsing, tokenizing and building responses delay the model's thread at
each of its calls, even on another core. Independent of FastAPI.
"""

from __future__ import annotations

import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

from softprompt.recent_tenants import RecentTenants

T = TypeVar("T")

SHARE_BESIDE_MODEL = 0.1  # of a core, per tenant, where the model runs in the same process
SHARE_WITHOUT_MODEL = 0.5
BURST_S = 0.01  # time that a tenant may use at once
MAX_WAIT_S = 1.0  # maximum wait, after a request that used very much
MAX_TRACKED_TENANTS = 1024  # more are tracked only while they have to wait


class PythonTimeBudget:
    """Time that tenants' requests used, and how long each tenant waits to stay within its share. Thread-safe.

    A tenant that is alone never waits.

    Args:
        share: share of a core for each tenant.
        clock: returns the time in seconds.
    """

    def __init__(self, share: float = SHARE_BESIDE_MODEL, clock: Callable[[], float] = time.monotonic):
        self._share, self._clock, self._lock = share, clock, threading.Lock()
        self._recent = RecentTenants(clock=clock)
        self._free_at: dict[str, float] = {}  # time at which a tenant's share covers what it used

    def add_request(self, tenant: str) -> None:
        """Record that a tenant sent a request now."""
        with self._lock:
            self._recent.add_request(tenant)

    def charge_tenant(self, tenant: str, seconds: float) -> None:
        """Charge a tenant for time, in seconds, that a request used while other tenants were active."""
        with self._lock:
            if not self._recent.has_others([tenant]):
                return
            now = self._clock()
            free_at = max(self._free_at.get(tenant, now), now) + seconds / self._share
            self._free_at[tenant] = min(free_at, now + BURST_S / self._share + MAX_WAIT_S)
            if len(self._free_at) > MAX_TRACKED_TENANTS:
                self._free_at = {name: free_at for name, free_at in self._free_at.items() if free_at > now}

    def get_wait(self, tenant: str) -> float:
        """Return the seconds that a tenant has to wait before its next work; 0 if it is alone."""
        with self._lock:
            if tenant not in self._free_at or not self._recent.has_others([tenant]):
                return 0.0
            return max(0.0, self._free_at[tenant] - self._clock() - BURST_S / self._share)

    @types.coroutine
    def charge_steps(self, tenant: str, coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Run a coroutine, and charge the tenant for the CPU time of each step between two waits."""
        resume: Callable[[], Any] = partial(coroutine.send, None)
        while True:
            started_at = time.thread_time()
            try:
                awaited = resume()
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                self.charge_tenant(tenant, time.thread_time() - started_at)
            try:
                resume = partial(coroutine.send, (yield awaited))
            except BaseException as error:  # a cancellation, for example
                resume = partial(coroutine.throw, error)
