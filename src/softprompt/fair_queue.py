"""Fair queue of items by tenant: no tenant takes all the capacity, and no tenant keeps the others waiting.

Next is the tenant with the smallest usage of a shared resource, such as slots; among equal usages, the least served one
(`service_counters.py`). Items of a tenant keep their order. Imports no torch and nothing of the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from softprompt.service_counters import MAX_INACTIVE_TENANTS, ServiceCounters
from softprompt.updatable_heap import UpdatableHeap

T = TypeVar("T")


@dataclass(frozen=True)
class _QueueEntry(Generic[T]):
    """Waiting item.

    Attributes:
        item: the item.
        cost: service that the tenant is charged when the item is taken.
        uses_capacity: whether the item counts toward the queue's capacity.
    """

    item: T
    cost: float
    uses_capacity: bool = True


class _TenantQueue(Generic[T]):
    """Waiting items of one tenant."""

    def __init__(self) -> None:
        self.entries: deque[_QueueEntry[T]] = deque()
        self.num_using_capacity = 0


class FairQueue(Generic[T]):
    """Queue of items by tenant. Not thread-safe.

    Nothing is stored for a tenant without waiting items and usage, except a bounded number of service counters of
    tenants that were served more than the others.

    Args:
        capacity: maximum number of waiting items. A tenant may have as many waiting items as there are free places, so
            that there is always one for others (dynamic thresholds: Choudhury & Hahne 1998, doi 10.1109/90.664262).
        max_inactive: number of inactive tenants whose service counters are kept.
        credit: service that a tenant is given at once when it becomes active after a pause.
    """

    def __init__(self, capacity: int, max_inactive: int = MAX_INACTIVE_TENANTS, credit: float = 0.0):
        self.capacity = capacity
        self._queues: dict[str, _TenantQueue[T]] = {}
        self._length, self._num_using_capacity = 0, 0
        self._usage: dict[str, float] = {}
        self._extra_active: set[str] = set()
        self._service_counters = ServiceCounters(max_inactive, credit)
        self._waiting_heap = UpdatableHeap()  # tenants with waiting items

    def __len__(self) -> int:
        """Number of waiting items of all tenants."""
        return self._length

    def __iter__(self) -> Iterator[T]:
        """Iterate over the waiting items, tenant by tenant."""
        return (entry.item for queue in list(self._queues.values()) for entry in list(queue.entries))

    @property
    def waiting_tenants(self) -> Iterator[str]:
        """Tenants with waiting items."""
        return iter(list(self._queues))

    @property
    def num_active_tenants(self) -> int:
        """Number of tenants with waiting items or usage."""
        return len(self._queues.keys() | self._usage.keys())

    @property
    def num_tracked_tenants(self) -> int:
        """Number of tenants with a service counter."""
        return len(self._service_counters)

    def count_waiting(self, tenant: str) -> int:
        """Return the number of a tenant's waiting items."""
        queue = self._queues.get(tenant)
        return 0 if queue is None else len(queue.entries)

    def get_tenant_usage(self, tenant: str) -> float:
        """Return a tenant's usage of the shared resource."""
        return self._usage.get(tenant, 0.0)

    def get_tenant_service(self, tenant: str) -> float:
        """Return the service that a tenant was charged."""
        return self._service_counters[tenant]

    def put(self, tenant: str, item: T, cost: float = 1.0) -> bool:
        """Add an item after its tenant's others.

        Args:
            tenant: tenant that the item belongs to.
            item: item to add.
            cost: service that the tenant is charged when the item is taken.

        Returns:
            Whether there was capacity for the item.
        """
        queue = self._queues.get(tenant)
        if (0 if queue is None else queue.num_using_capacity) >= self.capacity - self._num_using_capacity:
            return False
        self._activate_tenant(tenant).entries.append(_QueueEntry(item, cost))
        self._adjust_counts(tenant, 1, 1)
        return True

    def put_back(self, tenant: str, item: T) -> None:
        """Return an item that was taken before to the front of its tenant's queue, without cost or use of capacity."""
        self._activate_tenant(tenant).entries.appendleft(_QueueEntry(item, 0.0, uses_capacity=False))
        self._adjust_counts(tenant, 1, 0)

    def peek(self) -> tuple[str, T]:
        """Return the next tenant and its next item; the queue must not be empty."""
        first = self._waiting_heap.peek_min()
        assert first is not None
        return first[0], self._queues[first[0]].entries[0].item

    def get(self) -> tuple[str, T]:
        """Remove the next item and charge its tenant; the queue must not be empty.

        Returns:
            The tenant and the item.
        """
        tenant, _ = self.peek()
        return tenant, self.get_from_tenant(tenant)

    def get_from_tenant(self, tenant: str) -> T:
        """Remove a tenant's next item and charge the tenant, which must have a waiting item."""
        entry = self._queues[tenant].entries.popleft()
        self._service_counters.charge_tenant(tenant, entry.cost)
        self._adjust_counts(tenant, -1, -int(entry.uses_capacity))
        self._update_tenant(tenant)
        return entry.item

    def remove(self, tenant: str, item: T) -> None:
        """Remove a waiting item without charging its tenant."""
        entries = self._queues[tenant].entries
        index = next(i for i, entry in enumerate(entries) if entry.item is item)
        self._adjust_counts(tenant, -1, -int(entries[index].uses_capacity))
        del entries[index]
        self._update_tenant(tenant)

    def charge_tenant(self, tenant: str, cost: float) -> None:
        """Charge a tenant for service whose cost was not known in advance."""
        self._service_counters.charge_tenant(tenant, cost)
        if tenant in self._waiting_heap:
            self._waiting_heap.set_key(tenant, self._priority_key(tenant))

    def set_tenant_usage(self, tenant: str, amount: float) -> None:
        """Set a tenant's usage of the shared resource; 0 for none."""
        if amount > 0:
            self._service_counters.activate_tenant(tenant)
            self._usage[tenant] = amount
        else:
            self._usage.pop(tenant, None)
        self._update_tenant(tenant)

    def set_active_tenants(self, tenants: Collection[str]) -> None:
        """Set the tenants that are active although they have no waiting items here, since they are served elsewhere.

        Their service counters then compete with the others', as if all of them waited.
        """
        removed, self._extra_active = self._extra_active.difference(tenants), set(tenants)
        for tenant in self._extra_active:
            self._service_counters.activate_tenant(tenant)
        for tenant in removed:
            self._update_tenant(tenant)

    def _activate_tenant(self, tenant: str) -> _TenantQueue[T]:
        """Return a tenant's queue, for an item that is about to be added."""
        self._service_counters.activate_tenant(tenant)
        if tenant not in self._queues:
            self._queues[tenant] = _TenantQueue()
            self._waiting_heap.set_key(tenant, self._priority_key(tenant))
        return self._queues[tenant]

    def _adjust_counts(self, tenant: str, length_change: int, capacity_change: int) -> None:
        self._length += length_change
        self._num_using_capacity += capacity_change
        self._queues[tenant].num_using_capacity += capacity_change

    def _update_tenant(self, tenant: str) -> None:
        """Update a tenant's priority, or drop a tenant without items and usage."""
        queue = self._queues.get(tenant)
        if queue is not None and queue.entries:
            self._waiting_heap.set_key(tenant, self._priority_key(tenant))
            return
        self._queues.pop(tenant, None)
        self._waiting_heap.discard(tenant)
        if tenant not in self._usage and tenant not in self._extra_active:
            self._service_counters.deactivate_tenant(tenant)

    def _priority_key(self, tenant: str) -> tuple[float, float]:
        return self.get_tenant_usage(tenant), self._service_counters[tenant]
