"""Thread pool that computes grammar masks while the model runs; tenants take turns. Imports no torch."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

MAX_THREADS = 8


class MaskPool:
    """Thread pool with a queue for each tenant. Threads start when they are first needed.

    Args:
        num_threads: number of threads; None for half of the cores.
    """

    def __init__(self, num_threads: int | None = None):
        count = num_threads or min(MAX_THREADS, max(1, (os.cpu_count() or 2) // 2))
        self._executor = ThreadPoolExecutor(count, "masks")
        self._lock = threading.Lock()
        self._queues: OrderedDict[str, deque[tuple[Future[Any], Callable[[], Any]]]] = OrderedDict()

    def submit_job(self, tenant: str, job: Callable[[], T]) -> Future[T]:
        """Queue a job, which runs when it is the tenant's turn, and return its future."""
        future: Future[T] = Future()
        with self._lock:
            self._queues.setdefault(tenant, deque()).append((future, job))
        self._executor.submit(self._run_next_job)
        return future

    def _run_next_job(self) -> None:
        future, job = self._pop_next_job()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(job())
            except BaseException as error:  # re-raised where the result is read
                future.set_exception(error)

    def _pop_next_job(self) -> tuple[Future[Any], Callable[[], Any]]:
        """Remove and return the next job of the tenant whose turn it is."""
        with self._lock:
            tenant, queue = next(iter(self._queues.items()))
            job = queue.popleft()
            if queue:
                self._queues.move_to_end(tenant)
            else:
                del self._queues[tenant]
        return job
