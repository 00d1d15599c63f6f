"""A single-threaded executor that shares the thread's time equally between tenants. Independent of FastAPI."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from softprompt.fair_queue import FairQueue
from softprompt.server.concurrency.python_time_budget import PythonTimeBudget
from softprompt.server.concurrency.queued_job import QueuedJob
from softprompt.server.request_errors import QueueFull

T = TypeVar("T")

MIN_JOB_COST_S = 0.001  # minimum cost of a job


class FairExecutor:
    """An executor with one thread and a fair queue.

    Args:
        name: name of the thread.
        max_jobs: maximum jobs that wait, half of them of one tenant.
        time_budget: budget that the jobs are charged to; None for no budget.
    """

    def __init__(self, name: str, max_jobs: int = 4096, time_budget: PythonTimeBudget | None = None):
        self._time_budget = time_budget
        self._pool = ThreadPoolExecutor(1, name)
        self._jobs, self._lock = FairQueue[QueuedJob](max_jobs), threading.Lock()

    def __len__(self) -> int:
        """Return the number of waiting jobs."""
        return len(self._jobs)

    async def run_in_thread(self, tenant: str, function: Callable[[], T]) -> T:
        """Run a function in the thread; the tenant that used the least time is next.

        Raises:
            QueueFull: too many jobs are waiting.
        """
        job = QueuedJob(function)
        with self._lock:
            if not self._jobs.put(tenant, job, MIN_JOB_COST_S):
                raise QueueFull
        self._pool.submit(self._run_next_job)
        result: T = await asyncio.wrap_future(job.future)
        return result

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run_next_job(self) -> None:
        with self._lock:
            tenant, job = self._jobs.get()
        started_at, cpu_started_at = time.monotonic(), time.thread_time()
        job.run_job()
        if self._time_budget is not None:
            self._time_budget.charge_tenant(tenant, time.thread_time() - cpu_started_at)
        with self._lock:
            self._jobs.charge_tenant(tenant, time.monotonic() - started_at)
