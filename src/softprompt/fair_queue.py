"""The queue of everything that tenants wait for: none of them takes all the room, and none keeps the others waiting.

Next is the tenant that holds least of what is shared, such as slots; among those that hold the same, the one that was
served least (`service_counters.py`). A tenant's own items keep their order. It knows no torch and no server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from softprompt.least_first import LeastFirst
from softprompt.service_counters import ABSENT, ServiceCounters

T = TypeVar("T")


@dataclass(frozen=True)
class _Entry(Generic[T]):
    """An item that waits.

    Attributes:
        item: it.
        cost: what its tenant is charged when it is taken.
        is_counted: it takes room in the queue.
    """

    item: T
    cost: float
    is_counted: bool = True


class _TenantQueue(Generic[T]):
    """What waits of one tenant."""

    def __init__(self) -> None:
        self.entries: deque[_Entry[T]] = deque()
        self.num_counted = 0


class FairQueue(Generic[T]):
    """Items that wait, by tenant. For one thread at a time.

    Nothing is kept of a tenant that has nothing waiting and holds nothing, but for the counters of those that were
    served more than the others, of a bounded number.

    Args:
        capacity: items that may wait. A tenant may have as many waiting as there is room left, so that there is always
            some for others (dynamic thresholds: Choudhury & Hahne 1998, doi 10.1109/90.664262).
        absent: of how many tenants that are not there to remember what they were served.
        credit: service that a tenant has at once when it comes, if it had none lately, before it takes turns.
    """

    def __init__(self, capacity: int, absent: int = ABSENT, credit: float = 0.0):
        self.capacity = capacity
        self._queues: dict[str, _TenantQueue[T]] = {}
        self._length, self._num_counted = 0, 0
        self._held: dict[str, float] = {}
        self._kept: set[str] = set()
        self._counters = ServiceCounters(absent, credit)
        self._order = LeastFirst()  # tenants with something waiting

    def __len__(self) -> int:
        """Items that wait, of all tenants."""
        return self._length

    def __iter__(self) -> Iterator[T]:
        """Items that wait, tenant by tenant."""
        return (entry.item for queue in list(self._queues.values()) for entry in list(queue.entries))

    @property
    def tenants(self) -> Iterator[str]:
        """Tenants that have something waiting."""
        return iter(list(self._queues))

    @property
    def num_present(self) -> int:
        """Tenants that have something waiting or hold something."""
        return len(self._queues.keys() | self._held.keys())

    @property
    def num_remembered(self) -> int:
        """Tenants of which anything is kept."""
        return len(self._counters)

    def count(self, tenant: str) -> int:
        """How many items of a tenant wait."""
        queue = self._queues.get(tenant)
        return 0 if queue is None else len(queue.entries)

    def held(self, tenant: str) -> float:
        """What a tenant holds of what is shared."""
        return self._held.get(tenant, 0.0)

    def served(self, tenant: str) -> float:
        """What a tenant was charged."""
        return self._counters[tenant]

    def add(self, tenant: str, item: T, cost: float = 1.0) -> bool:
        """Let an item wait behind its tenant's others.

        Args:
            tenant: whose it is.
            item: what waits.
            cost: what the tenant is charged when it is taken.

        Returns:
            Whether there was room for it.
        """
        queue = self._queues.get(tenant)
        if (0 if queue is None else queue.num_counted) >= self.capacity - self._num_counted:
            return False
        self._enter(tenant).entries.append(_Entry(item, cost))
        self._count_change(tenant, 1, 1)
        return True

    def put_back(self, tenant: str, item: T) -> None:
        """Let an item wait that was taken before: in front of its tenant's others, free, and without taking room."""
        self._enter(tenant).entries.appendleft(_Entry(item, 0.0, is_counted=False))
        self._count_change(tenant, 1, 0)

    def peek(self) -> tuple[str, T]:
        """Whose turn it is, and for what; something must wait."""
        least = self._order.least()
        assert least is not None
        return least[0], self._queues[least[0]].entries[0].item

    def take(self) -> tuple[str, T]:
        """Remove the item whose turn it is, and charge for it; something must wait.

        Returns:
            The tenant, and its item.
        """
        tenant, _ = self.peek()
        return tenant, self.take_from(tenant)

    def take_from(self, tenant: str) -> T:
        """Remove a tenant's next item, and charge for it; it must have one."""
        entry = self._queues[tenant].entries.popleft()
        self._counters.charge(tenant, entry.cost)
        self._count_change(tenant, -1, -int(entry.is_counted))
        self._settle(tenant)
        return entry.item

    def remove(self, tenant: str, item: T) -> None:
        """Remove an item that nobody wants any more; it must wait."""
        entries = self._queues[tenant].entries
        index = next(i for i, entry in enumerate(entries) if entry.item is item)
        self._count_change(tenant, -1, -int(entries[index].is_counted))
        del entries[index]
        self._settle(tenant)

    def charge(self, tenant: str, cost: float) -> None:
        """Charge a tenant for service whose cost was not known before."""
        self._counters.charge(tenant, cost)
        if tenant in self._order:
            self._order.set_key(tenant, self._key(tenant))

    def set_held(self, tenant: str, amount: float) -> None:
        """Say how much a tenant holds now of what is shared; 0 for nothing."""
        if amount > 0:
            self._counters.enter(tenant)
            self._held[tenant] = amount
        else:
            self._held.pop(tenant, None)
        self._settle(tenant)

    def set_present(self, tenants: Collection[str]) -> None:
        """Say which tenants count as present though nothing of theirs may wait here: they are served elsewhere.

        What they are charged is compared with what the others are, as if all of them waited.
        """
        gone, self._kept = self._kept.difference(tenants), set(tenants)
        for tenant in self._kept:
            self._counters.enter(tenant)
        for tenant in gone:
            self._settle(tenant)

    def _enter(self, tenant: str) -> _TenantQueue[T]:
        """A tenant's queue, to which something is about to be added."""
        self._counters.enter(tenant)
        if tenant not in self._queues:
            self._queues[tenant] = _TenantQueue()
            self._order.set_key(tenant, self._key(tenant))
        return self._queues[tenant]

    def _count_change(self, tenant: str, waiting: int, counted: int) -> None:
        self._length += waiting
        self._num_counted += counted
        self._queues[tenant].num_counted += counted

    def _settle(self, tenant: str) -> None:
        """Keep nothing of a tenant that has nothing here any more, or put it where it belongs."""
        queue = self._queues.get(tenant)
        if queue is not None and queue.entries:
            self._order.set_key(tenant, self._key(tenant))
            return
        self._queues.pop(tenant, None)
        self._order.discard(tenant)
        if tenant not in self._held and tenant not in self._kept:
            self._counters.leave(tenant)

    def _key(self, tenant: str) -> tuple[float, float]:
        return self.held(tenant), self._counters[tenant]
