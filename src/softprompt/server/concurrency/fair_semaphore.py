"""A semaphore that admits waiting tenants fairly. Independent of FastAPI."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from softprompt.fair_queue import FairQueue
from softprompt.recent_tenants import RecentTenants
from softprompt.server.request_errors import QueueFull


@dataclass(eq=False)
class _QueuedWaiter:
    """A waiter for a number of slots, whose holder has a load."""

    num_slots: int
    load: int
    future: asyncio.Future[None]


class SlotLease:
    """Slots that a tenant holds, and the load that their holder causes.

    Args:
        semaphore: semaphore of the slots.
        load: load of the holder.
    """

    def __init__(self, semaphore: FairSemaphore, load: int):
        self._semaphore, self.load = semaphore, load

    def set_load(self, load: int) -> None:
        """Set the load of the holder, which keeps its slots; a lower load admits waiters that fit now."""
        change, self.load = load - self.load, load
        self._semaphore.change_load(change)


class FairSemaphore:
    """A semaphore that admits the waiting tenant with the fewest slots next. For one event loop.

    A request for more slots than the capacity is admitted alone.

    Args:
        capacity: number of slots, or a function that returns it.
        max_waiting: maximum waiters, half of them of one tenant.
        num_reserved: slots that a single tenant never gets, or a function that returns their number.
        get_shared_capacity: returns the maximum load of all holders up to which a tenant that has slots gets more while
            other tenants are active. None for the whole capacity. Without another load, a slot has a load of 1.
    """

    def __init__(
        self,
        capacity: int | Callable[[], int],
        max_waiting: int = 1024,
        num_reserved: int | Callable[[], int] = 0,
        get_shared_capacity: Callable[[], int] | None = None,
    ):
        self._get_capacity = capacity if callable(capacity) else lambda: capacity
        self._get_reserved = num_reserved if callable(num_reserved) else lambda: num_reserved
        self._get_shared_capacity = get_shared_capacity or self._get_capacity
        self._recent_tenants = RecentTenants()
        self._queue: FairQueue[_QueuedWaiter] = FairQueue(max_waiting)
        self._waiters: set[_QueuedWaiter] = set()  # waiters in the queue
        self._held_slots = Counter[str]()
        self._num_held = self._load = 0

    def __len__(self) -> int:
        """Return the number of slots in use."""
        return self._num_held

    @asynccontextmanager
    async def acquire_slots(self, tenant: str, num_slots: int = 1, load: int | None = None) -> AsyncIterator[SlotLease]:
        """Hold slots for a tenant within a context.

        Args:
            tenant: tenant that holds the slots.
            num_slots: number of slots.
            load: load of their holder; None for one per slot.

        Raises:
            QueueFull: too many waiters.
        """
        lease = SlotLease(self, num_slots if load is None else load)
        await self._acquire_slots(tenant, num_slots, lease.load)
        try:
            yield lease
        finally:
            self._release_slots(tenant, num_slots, lease.load)

    def has_other_tenants(self, tenant: str) -> bool:
        """Return whether other tenants are active."""
        return self._recent_tenants.has_others({tenant})

    def change_load(self, change: int) -> None:
        """Change the load of the holders, and admit waiters if it became smaller."""
        self._load += change
        if change < 0:
            self.admit_waiters()

    def admit_waiters(self) -> None:
        """Admit waiters as long as their slots are free."""
        while self._queue:
            tenant, waiter = self._queue.peek()
            if not self._has_capacity(tenant, waiter.num_slots, waiter.load):
                return
            self._queue.get()
            self._waiters.remove(waiter)
            if not waiter.future.cancelled():  # a waiter cancelled a moment ago is still in the queue
                self._change_held(tenant, waiter.num_slots, waiter.load)
                waiter.future.set_result(None)

    def _has_capacity(self, tenant: str, num_slots: int, load: int) -> bool:
        capacity, num_tenant_slots = self._get_capacity(), self._held_slots[tenant]
        if self._num_held and self._num_held + num_slots > capacity:
            return False
        if not num_tenant_slots:
            return True
        if self.has_other_tenants(tenant) and self._load + load > self._get_shared_capacity():
            return False
        return num_tenant_slots + num_slots <= max(1, capacity - self._get_reserved())

    async def _acquire_slots(self, tenant: str, num_slots: int, load: int) -> None:
        self._recent_tenants.add_request(tenant)
        if not self._queue and self._has_capacity(tenant, num_slots, load):
            self._change_held(tenant, num_slots, load)
            return
        waiter = _QueuedWaiter(num_slots, load, asyncio.get_running_loop().create_future())
        if not self._queue.put(tenant, waiter):
            raise QueueFull
        self._waiters.add(waiter)
        self.admit_waiters()  # the waiters in front may need more slots than this one
        try:
            await waiter.future
        except asyncio.CancelledError:
            if not waiter.future.cancelled():  # admitted at the same moment
                self._release_slots(tenant, num_slots, load)
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
                self._queue.remove(tenant, waiter)
                self.admit_waiters()  # later waiters may fit now
            raise

    def _release_slots(self, tenant: str, num_slots: int, load: int) -> None:
        self._change_held(tenant, -num_slots, -load)
        self.admit_waiters()

    def _change_held(self, tenant: str, num_slots: int, load: int) -> None:
        self._num_held += num_slots
        self._load += load
        self._held_slots[tenant] += num_slots
        self._queue.set_tenant_usage(tenant, float(self._held_slots[tenant]))
        if not self._held_slots[tenant]:
            del self._held_slots[tenant]
