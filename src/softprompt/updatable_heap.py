"""Heap of names whose keys may change."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

HeapKey = tuple[float, ...]
"""Key of a name; keys are compared lexicographically."""


class UpdatableHeap:
    """Heap whose keys may change; each operation costs O(log N) on average.

    An entry with an outdated key stays in the heap until it reaches the top or the heap is rebuilt. Among equal keys
    the name that was added first comes first.
    """

    def __init__(self) -> None:
        self._entries: dict[str, tuple[HeapKey, int]] = {}  # key and arrival number
        self._heap: list[tuple[HeapKey, int, str]] = []
        self._arrival_counter = count()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order in which they were added."""
        return iter(self._entries)

    def set_key(self, name: str, key: HeapKey) -> None:
        """Add a name, or change its key."""
        previous = self._entries.get(name)
        if previous is not None and previous[0] == key:
            return
        arrival = next(self._arrival_counter) if previous is None else previous[1]
        self._entries[name] = (key, arrival)
        heapq.heappush(self._heap, (key, arrival, name))
        if len(self._heap) > 64 + 2 * len(self._entries):
            self._rebuild_heap()

    def discard(self, name: str) -> None:
        """Remove a name, if present."""
        self._entries.pop(name, None)

    def peek_min(self) -> tuple[str, HeapKey] | None:
        """Return the name with the smallest key, and the key; None if the heap is empty."""
        while self._heap:
            key, arrival, name = self._heap[0]
            if self._entries.get(name) == (key, arrival):
                return name, key
            heapq.heappop(self._heap)
        return None

    def _rebuild_heap(self) -> None:
        self._heap = [(key, arrival, name) for name, (key, arrival) in self._entries.items()]
        heapq.heapify(self._heap)
