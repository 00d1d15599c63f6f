"""The one thread that runs the model: steps of the engine, and between two of them other passes.

Tenants have equal shares of its time: a pass comes when its tenant was served less than those whose rows would wait for
it, the pass included. So a classification of a thousand texts keeps no token of another tenant waiting for long.

Everybody else is on the event loop, and hands in what is to be done. Nothing of what it does is awaited here: news goes
to the loop once a step, whoever it is for.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch

from softprompt.engine import Engine, Request, Written
from softprompt.engine.running import Running
from softprompt.fair_queue import FairQueue
from softprompt.model import Payload
from softprompt.server.backend import Hear
from softprompt.server.failures import Busy, Draining, Failed
from softprompt.server.job import Job
from softprompt.server.metrics import Metrics
from softprompt.server.refusal import Refusal

logger = logging.getLogger(__name__)

T = TypeVar("T")

SWITCH = 0.0005  # seconds after which a thread lets another run: the model's would wait for 5 ms at each of its calls
UNKNOWN = 0.05  # seconds that a pass may take before it is known what a step takes
CREDIT = 0.1  # seconds of the model that a tenant has at once when it comes, before it takes turns
REMEMBERED = 1024  # tenants of which it is known how long their passes take


@dataclass(eq=False)
class _Row:
    """A request that was handed in. `running` is none before the engine took it."""

    hear: Hear
    came: float = field(default_factory=time.monotonic)
    running: Running | None = None
    has_slot: bool = False
    refusal: Refusal | None = None


@dataclass(eq=False)
class Row:
    """A response that is being written."""

    _worker: Worker
    _row: _Row

    @property
    def reused(self) -> int:
        """How many tokens of its text were not read, since they had been in another row."""
        return 0 if self._row.running is None else self._row.running.reused

    def close(self) -> None:
        """Nobody wants it any more: its room is free at once. If it is over, nothing happens."""
        self._worker._leave(self._row)


class Worker:
    """Runs an engine in a thread of its own.

    Args:
        engine: nobody else may touch it once the thread runs.
        metrics: what is to be counted.
        most_jobs: that may wait to be run between steps, half of them of one tenant.
        threads: that torch divides the model's calls among; None for as many as it is set to. Other threads keep what
            they have: see `prepare`.

    Attributes:
        is_draining: the server takes no new requests; what runs goes on.
    """

    def __init__(self, engine: Engine, metrics: Metrics, most_jobs: int = 1024, threads: int | None = None):
        self.engine, self._metrics = engine, metrics
        self._changed = threading.Condition()
        self._orders: deque[Job] = deque()  # that take no pass: to begin a row, to leave one, to make a prefix ready
        self._jobs: FairQueue[Job] = FairQueue(
            most_jobs, credit=CREDIT
        )  # that take a pass of the model; charged by seconds
        self._present: set[str] = set()  # tenants whose rows would wait for a pass
        self._usual: dict[str, float] = {}  # seconds that a pass of a tenant's takes
        self._rows: dict[Running, _Row] = {}
        self._news: list[tuple[_Row, Written | Refusal]] = []
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._threads, self._has_threads = threads, threading.Event()
        self.is_draining = False

    def start(self) -> None:
        """Start the thread; news goes to the loop that runs now."""
        self._loop = asyncio.get_running_loop()
        sys.setswitchinterval(SWITCH)
        self._thread.start()
        self._has_threads.wait()
        torch.set_num_threads(torch.get_num_threads())  # threads that begin later have what was set last: this one's

    async def stop(self) -> None:
        """Take nothing new, end what still runs, and the thread."""
        self.is_draining = True
        with self._changed:
            self._is_over = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    @property
    def is_alive(self) -> bool:
        """The thread runs."""
        return self._thread.is_alive()

    async def begin(self, request: Request, payload: Payload | None, hear: Hear) -> Row:
        """Let a request be answered; `hear` is told of each token, the last one included.

        Raises:
            SettingError: it is longer than a row may be.
            Busy: too many wait.
            Draining: the thread has ended.
        """
        row = _Row(hear)
        try:
            is_taken = await self.between_steps(partial(self._add, row, request, payload))
        except asyncio.CancelledError:
            self._leave(row)
            raise
        if not is_taken:
            raise Busy
        return Row(self, row)

    async def run(self, tenant: str, work: Callable[[], T]) -> T:
        """Have the model run for something else, between two steps; tenants take turns.

        Raises:
            Busy: too many jobs wait.
            Draining: the thread has ended.
        """
        job = Job(work)
        self._hand_in(partial(self._jobs.add, tenant, job, cost=0.0))
        result: T = await asyncio.wrap_future(job.future)
        return result

    async def between_steps(self, work: Callable[[], T]) -> T:
        """Have something done that takes no pass of the model, before the next step whatever else is to be done.

        Raises:
            Draining: the thread has ended.
        """
        order = Job(work)

        def put() -> bool:
            self._orders.append(order)
            return True

        self._hand_in(put)
        result: T = await asyncio.wrap_future(order.future)
        return result

    def _hand_in(self, put: Callable[[], bool]) -> None:
        """Put something where the thread finds it.

        Raises:
            Busy: there is no room.
            Draining: the thread has ended.
        """
        with self._changed:
            if self._is_over:
                raise Draining
            if not put():
                raise Busy
            self._changed.notify()

    def _leave(self, row: _Row) -> None:
        with self._changed:
            self._orders.append(Job(partial(self._cancel, row)))
            self._changed.notify()

    # What follows runs in the thread.

    def _work(self) -> None:
        try:
            usual = torch.get_num_threads()  # asked first: a thread's first call of torch sets it to what is usual
            torch.set_num_threads(self._threads or usual)
            self._has_threads.set()
            while self._wait():
                self._turn()
        except Exception:
            logger.exception("the thread that runs the model has ended: restart the server")
        finally:
            self._has_threads.set()
            self._end()

    def _turn(self) -> None:
        for _ in range(len(self._orders)):
            self._orders.popleft().run()
        self._present = {row.request.tenant for row in self.engine.scheduler.running}
        if (job := self._next_job()) is not None:
            self._run_job(*job)
        if not self.engine.is_idle:
            self._step()
        self._measure_load()
        self._deliver()

    def longest_pass(self, tenants: Collection[str]) -> float | None:
        """Seconds that a pass for tenants may take; None for any number. For the model's thread."""
        return self.engine.scheduler.budget.longest or UNKNOWN if self.engine.recent.has_others(tenants) else None

    def _next_job(self) -> tuple[str, Job] | None:
        """The pass whose turn it is; None while those whose rows would wait for it are to be served first."""
        with self._changed:
            self._jobs.set_present(self._present)
            if not self._jobs:
                return None
            tenant, _ = self._jobs.peek()
            would_have = self._jobs.served(tenant) + self._usual.get(tenant, 0.0)
            has_stepped = bool(self.engine.last_shares)  # else no row can go on: all wait for masks
            if has_stepped and any(self._jobs.served(other) < would_have for other in self._present - {tenant}):
                return None
            return self._jobs.take()

    def _run_job(self, tenant: str, job: Job) -> None:
        self.engine.recent.add(tenant)
        began = time.monotonic()
        job.run()
        seconds = time.monotonic() - began
        if len(self._usual) >= REMEMBERED:
            self._usual.clear()
        before = self._usual.get(tenant, seconds)
        self._usual[tenant] = before + (seconds - before) / 4
        self._charge({tenant: 1.0}, seconds)

    def _charge(self, parts: Mapping[str, float], seconds: float) -> None:
        """Charge tenants for time of the thread, each for its part."""
        total = sum(parts.values()) or 1.0
        with self._changed:
            for tenant, part in parts.items():
                self._jobs.charge(tenant, seconds * part / total)

    def _wait(self) -> bool:
        """Until there is something to do; false once there never will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._orders or self._jobs or not self.engine.is_idle)
            return not self._is_over

    def _add(self, row: _Row, request: Request, payload: Payload | None) -> bool:
        row.running = self.engine.add(request, payload, partial(self._hear, row))
        if row.running is None:
            return False
        self._rows[row.running] = row
        return True

    def _cancel(self, row: _Row) -> None:
        if row.running is not None and row.running in self._rows:
            self.engine.cancel(row.running)

    def _hear(self, row: _Row, written: Written) -> None:
        if written.end is not None and row.running is not None:
            self._rows.pop(row.running, None)
        self._news.append((row, row.refusal or written))

    def _step(self) -> None:
        began = time.monotonic()
        try:
            self.engine.step()
        except Exception:
            logger.exception("a step failed, and with it the requests that ran")
            for running in reversed(self.engine.scheduler.running):  # so none has to move
                self._fail(running, Failed())
        self._charge(self.engine.last_shares, time.monotonic() - began)
        self._measure(began)

    def _measure(self, began: float) -> None:
        """Count a step; whoever is in its first one had its slot when it began."""
        scheduler = self.engine.scheduler
        self._metrics.step(len(scheduler.running))
        for running in scheduler.running:
            row = self._rows[running]
            if not row.has_slot:
                row.has_slot = True
                self._metrics.queued(max(0.0, began - row.came))

    def _measure_load(self) -> None:
        """Say how many rows there are, after whatever may have changed it: rows that are cancelled take no step."""
        scheduler = self.engine.scheduler
        self._metrics.load(len(scheduler.running), scheduler.num_waiting)

    def _fail(self, running: Running, refusal: Refusal) -> None:
        self._rows[running].refusal = refusal
        self.engine.drop(running)

    def _deliver(self) -> None:
        news, self._news = self._news, []
        if news and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_tell, news)

    def _end(self) -> None:
        """Whoever still waits is told, and nobody waits from now on."""
        with self._changed:
            self._is_over = True
        for running in list(self._rows):
            self._fail(running, Draining())
        self._measure_load()
        for job in [*self._orders, *self._jobs]:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(Draining())
        self._deliver()


def _tell(news: list[tuple[_Row, Written | Refusal]]) -> None:
    for row, each in news:
        row.hear(each)
