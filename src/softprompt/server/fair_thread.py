"""A thread that does one thing after the other, tenants in turn by the seconds of theirs. It knows no FastAPI."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from softprompt.fair_queue import FairQueue
from softprompt.server.failures import Busy
from softprompt.server.job import Job

T = TypeVar("T")

LEAST = 0.001  # seconds that a job counts at least


class FairThread:
    """One thread, and what waits for it.

    Args:
        name: of the thread.
        most_jobs: that may wait, half of them of one tenant.
    """

    def __init__(self, name: str, most_jobs: int = 4096):
        self._thread = ThreadPoolExecutor(1, name)
        self._jobs, self._lock = FairQueue[Job](most_jobs), threading.Lock()

    def __len__(self) -> int:
        """Jobs that wait."""
        return len(self._jobs)

    async def do(self, tenant: str, work: Callable[[], T]) -> T:
        """Have the thread do something; tenants take turns, by the seconds that theirs took.

        Raises:
            Busy: too many jobs wait.
        """
        job = Job(work)
        with self._lock:
            if not self._jobs.add(tenant, job, LEAST):
                raise Busy
        self._thread.submit(self._run_next)
        result: T = await asyncio.wrap_future(job.future)
        return result

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run_next(self) -> None:
        with self._lock:
            tenant, job = self._jobs.take()
        began = time.monotonic()
        job.run()
        with self._lock:
            self._jobs.charge(tenant, time.monotonic() - began)
