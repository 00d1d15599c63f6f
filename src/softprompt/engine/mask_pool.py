"""Threads that make the masks of grammars beside the model's steps; tenants take turns. Knows no torch."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

MOST_THREADS = 8


class MaskPool:
    """Does work in threads of its own, which begin when they are first needed.

    Args:
        threads: how many; None for half of the cores.
    """

    def __init__(self, threads: int | None = None):
        count = threads or min(MOST_THREADS, max(1, (os.cpu_count() or 2) // 2))
        self._threads = ThreadPoolExecutor(count, "masks")
        self._lock = threading.Lock()
        self._queues: OrderedDict[str, deque[tuple[Future[Any], Callable[[], Any]]]] = OrderedDict()

    def submit(self, tenant: str, work: Callable[[], T]) -> Future[T]:
        """Have work done when it is the tenant's turn."""
        future: Future[T] = Future()
        with self._lock:
            self._queues.setdefault(tenant, deque()).append((future, work))
        self._threads.submit(self._run_next)
        return future

    def _run_next(self) -> None:
        future, work = self._take()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # passed on to the row that waits for it, whatever it is
                future.set_exception(error)

    def _take(self) -> tuple[Future[Any], Callable[[], Any]]:
        """Whose turn it is."""
        with self._lock:
            tenant, queue = next(iter(self._queues.items()))
            job = queue.popleft()
            if queue:
                self._queues.move_to_end(tenant)
            else:
                del self._queues[tenant]
        return job
