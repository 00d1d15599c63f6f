"""A queue in which tenants take turns, and of which none can take all the room. It knows no FastAPI and no torch."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits, each tenant's in the order that it came.

    Args:
        most: that may wait. A tenant may have as many waiting as there is room left, so that there is always some for
            others (dynamic thresholds: Choudhury & Hahne 1998, doi 10.1109/90.664262).
    """

    def __init__(self, most: int):
        self._most = most
        self._queues: OrderedDict[str, deque[T]] = OrderedDict()  # whose turn it is stands first

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[T]:
        for queue in self._queues.values():
            yield from queue

    def add(self, tenant: str, each: T) -> bool:
        """Let one wait; whether there was room for it."""
        queue = self._queues.get(tenant, deque())
        if len(queue) >= self._most - len(self):
            return False
        queue.append(each)
        self._queues[tenant] = queue
        return True

    def take(self) -> T:
        """Whose turn it is; there must be somebody."""
        tenant, queue = next(iter(self._queues.items()))
        each = queue.popleft()
        if queue:
            self._queues.move_to_end(tenant)
        else:
            del self._queues[tenant]
        return each
