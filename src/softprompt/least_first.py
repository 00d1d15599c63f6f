"""Names ordered by numbers that change: which one has the least now. It knows nothing of what is numbered."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

Key = tuple[float, ...]
"""What names are ordered by: the first number that differs decides."""


class LeastFirst:
    """A heap whose keys may change; each operation costs O(log N) on average.

    An entry whose key has changed stays in the heap until it comes to the top or the heap is rebuilt. Among equal keys
    the name that came first is first.
    """

    def __init__(self) -> None:
        self._current: dict[str, tuple[Key, int]] = {}  # with when the name came
        self._heap: list[tuple[Key, int, str]] = []
        self._arrivals = count()

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, name: str) -> bool:
        return name in self._current

    def __iter__(self) -> Iterator[str]:
        """The names, in the order in which they came."""
        return iter(self._current)

    def set_key(self, name: str, key: Key) -> None:
        """Give a name its key, a new one or for the first time."""
        previous = self._current.get(name)
        if previous is not None and previous[0] == key:
            return
        arrival = next(self._arrivals) if previous is None else previous[1]
        self._current[name] = (key, arrival)
        heapq.heappush(self._heap, (key, arrival, name))
        if len(self._heap) > 64 + 2 * len(self._current):
            self._rebuild()

    def discard(self, name: str) -> None:
        """Drop a name, if it is there."""
        self._current.pop(name, None)

    def least(self) -> tuple[str, Key] | None:
        """The name with the least key, and that key; None if there are no names."""
        while self._heap:
            key, arrival, name = self._heap[0]
            if self._current.get(name) == (key, arrival):
                return name, key
            heapq.heappop(self._heap)
        return None

    def _rebuild(self) -> None:
        self._heap = [(key, arrival, name) for name, (key, arrival) in self._current.items()]
        heapq.heapify(self._heap)
