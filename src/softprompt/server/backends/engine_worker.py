"""The single thread that runs the model: engine steps, and other forward passes between them.

Tenants share the thread's time equally. A pass runs once its tenant, including the pass, was served no more than every
tenant whose sequences would wait for it. So a classification of a thousand texts does not delay another tenant's tokens
much.

The event loop submits requests and jobs. The thread never waits for the loop, and sends all events once per step.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TypeVar

import torch

from softprompt.engine import Engine, EngineRequest, TokenOutput
from softprompt.engine.sequence import EngineSequence
from softprompt.fair_queue import FairQueue
from softprompt.model import Payload
from softprompt.server.backends.engine_generation_handle import EngineGenerationHandle
from softprompt.server.concurrency.queued_job import QueuedJob
from softprompt.server.request_errors import InferenceFailed, QueueFull, RequestError, ServerShuttingDown
from softprompt.server.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Python's thread switch interval: with the default of 5 ms the model's thread waits at each call.
SWITCH_INTERVAL_S = 0.0005
DEFAULT_PASS_S = 0.05  # maximum duration of a pass before the first step was measured
IDLE_CREDIT_S = 0.1  # model time that a new tenant may use at once before it takes turns
MAX_TRACKED_TENANTS = 1024  # tenants whose pass durations are remembered


class EngineWorker:
    """A worker that runs an engine in a thread of its own.

    Args:
        engine: engine, which only the thread may use once it runs.
        metrics: metrics of the server.
        max_jobs: maximum jobs that wait to run between steps, half of them of one tenant.
        num_threads: CPU threads of the model's calls; None for torch's setting. Other threads keep their setting: see
            `configure_process`.

    Attributes:
        is_draining: whether new requests are rejected while running ones continue.
    """

    def __init__(self, engine: Engine, metrics: ServerMetrics, max_jobs: int = 1024, num_threads: int | None = None):
        self.engine, self._metrics = engine, metrics
        self._condition = threading.Condition()
        # Jobs without a forward pass, such as adding or cancelling a sequence.
        self._control_queue: deque[QueuedJob] = deque()
        # Jobs with a forward pass, charged by seconds.
        self._job_queue: FairQueue[QueuedJob] = FairQueue(max_jobs, credit=IDLE_CREDIT_S)
        self._running_tenants: set[str] = set()  # tenants whose sequences would wait for a pass
        self._job_durations: dict[str, float] = {}  # mean seconds of a tenant's part of a pass
        self._job_shares: Mapping[str, float] = {}  # of the tenants in the running job
        self._handles: dict[EngineSequence, EngineGenerationHandle] = {}
        self._events: list[tuple[EngineGenerationHandle, TokenOutput | RequestError]] = []
        self._is_stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run_thread, name="model", daemon=True)
        self._num_threads, self._threads_configured = num_threads, threading.Event()
        self.is_draining = False

    def start(self) -> None:
        """Start the thread; events are sent to the current event loop."""
        self._loop = asyncio.get_running_loop()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._thread.start()
        self._threads_configured.wait()
        # Later threads inherit the last setting, so the last one must be this thread's.
        torch.set_num_threads(torch.get_num_threads())

    async def stop(self) -> None:
        """Reject new requests, end the running ones, and stop the thread."""
        self.is_draining = True
        with self._condition:
            self._is_stopped = True
            self._condition.notify()
        await asyncio.to_thread(self._thread.join)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    async def submit_request(self, request: EngineRequest, payload: Payload | None) -> EngineGenerationHandle:
        """Submit a request.

        Raises:
            SettingError: the sequence is longer than the maximum.
            QueueFull: too many requests are waiting.
            ServerShuttingDown: the thread has stopped.
        """
        handle = EngineGenerationHandle(self._request_cancel)
        try:
            is_accepted = await self.run_between_steps(partial(self._add_to_engine, handle, request, payload))
        except asyncio.CancelledError:
            self._request_cancel(handle)
            raise
        if not is_accepted:
            raise QueueFull
        return handle

    async def run_job(self, tenant: str, function: Callable[[], T]) -> T:
        """Run a job with a forward pass between two steps; tenants take turns.

        Args:
            tenant: tenant whose turn the job takes.
            function: work of the job. If it is for several tenants, it calls `set_job_shares`.

        Raises:
            QueueFull: too many jobs are waiting.
            ServerShuttingDown: the thread has stopped.
        """
        job = QueuedJob(function)
        self._enqueue_and_notify(partial(self._job_queue.put, tenant, job, cost=0.0))
        result: T = await asyncio.wrap_future(job.future)
        return result

    async def run_between_steps(self, function: Callable[[], T]) -> T:
        """Run a job without a forward pass before the next step, ahead of all other work.

        Raises:
            ServerShuttingDown: the thread has stopped.
        """
        job = QueuedJob(function)

        def enqueue_job() -> bool:
            self._control_queue.append(job)
            return True

        self._enqueue_and_notify(enqueue_job)
        result: T = await asyncio.wrap_future(job.future)
        return result

    def _enqueue_and_notify(self, enqueue: Callable[[], bool]) -> None:
        """Enqueue a job and wake the thread.

        Raises:
            QueueFull: the queue is full.
            ServerShuttingDown: the thread has stopped.
        """
        with self._condition:
            if self._is_stopped:
                raise ServerShuttingDown
            if not enqueue():
                raise QueueFull
            self._condition.notify()

    def _request_cancel(self, handle: EngineGenerationHandle) -> None:
        with self._condition:
            self._control_queue.append(QueuedJob(partial(self._cancel_generation, handle)))
            self._condition.notify()

    # The methods below run in the worker's thread.

    def _run_thread(self) -> None:
        try:
            default = torch.get_num_threads()  # must come first: a thread's first torch call resets its setting
            torch.set_num_threads(self._num_threads or default)
            self._threads_configured.set()
            while self._wait_for_work():
                self._run_iteration()
        except Exception:
            logger.exception("the model's thread failed: restart the server")
        finally:
            self._threads_configured.set()
            self._shut_down()

    def _run_iteration(self) -> None:
        for _ in range(len(self._control_queue)):
            self._control_queue.popleft().run_job()
        if not self.engine.is_idle:
            self._step_engine()  # before the job, so that a new sequence does not wait for it
        self._record_load()
        self._flush_events()
        self._running_tenants = {sequence.request.tenant for sequence in self.engine.scheduler.running}
        if (job := self._take_next_job()) is not None:
            self._execute_job(*job)

    def get_max_pass_seconds(self, tenants: Collection[str]) -> float | None:
        """Return the maximum seconds of a pass for tenants; None for no limit. For the model's thread only."""
        return (
            self.engine.scheduler.cost_model.max_step_seconds or DEFAULT_PASS_S
            if self.engine.recent_tenants.has_others(tenants)
            else None
        )

    def set_job_shares(self, shares: Mapping[str, float]) -> None:
        """Charge these tenants for the running job, in proportion to their shares. For the model's thread only."""
        self._job_shares = shares

    def _take_next_job(self) -> tuple[str, QueuedJob] | None:
        """Take the next job; None while tenants whose sequences would wait for it are served first."""
        with self._condition:
            self._job_queue.set_active_tenants(self._running_tenants)
            if not self._job_queue:
                return None
            tenant, _ = self._job_queue.peek()
            service_after = self._job_queue.get_tenant_service(tenant) + self._job_durations.get(tenant, 0.0)
            has_stepped = bool(self.engine.last_step_seconds)  # otherwise all sequences wait for grammar masks
            if has_stepped and any(
                self._job_queue.get_tenant_service(other) < service_after for other in self._running_tenants - {tenant}
            ):
                return None
            return self._job_queue.get()

    def _execute_job(self, tenant: str, job: QueuedJob) -> None:
        self._job_shares = {tenant: 1.0}
        started_at = time.monotonic()
        job.run_job()
        for name, seconds in self._charge_tenants(self._job_shares, time.monotonic() - started_at).items():
            self.engine.recent_tenants.add_request(name)
            if len(self._job_durations) >= MAX_TRACKED_TENANTS:
                self._job_durations.clear()
            mean = self._job_durations.get(name, seconds)
            self._job_durations[name] = mean + (seconds - mean) / 4

    def _charge_tenants(self, shares: Mapping[str, float], seconds: float) -> dict[str, float]:
        """Charge tenants for the thread's time in proportion to their shares, and return the seconds of each."""
        total = sum(shares.values()) or 1.0
        charges = {tenant: seconds * share / total for tenant, share in shares.items()}
        with self._condition:
            for tenant, charge in charges.items():
                self._job_queue.charge_tenant(tenant, charge)
        return charges

    def _wait_for_work(self) -> bool:
        """Wait for work; False once the worker has been stopped."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._is_stopped or self._control_queue or self._job_queue or not self.engine.is_idle
            )
            return not self._is_stopped

    def _add_to_engine(self, handle: EngineGenerationHandle, request: EngineRequest, payload: Payload | None) -> bool:
        handle.sequence = self.engine.add_request(request, payload, partial(self._on_engine_output, handle))
        if handle.sequence is None:
            return False
        self._handles[handle.sequence] = handle
        return True

    def _cancel_generation(self, handle: EngineGenerationHandle) -> None:
        if handle.sequence is not None and handle.sequence in self._handles:
            self.engine.cancel_request(handle.sequence)

    def _on_engine_output(self, handle: EngineGenerationHandle, output: TokenOutput) -> None:
        if output.finish_reason is not None and handle.sequence is not None:
            self._handles.pop(handle.sequence, None)
        self._events.append((handle, handle.error or output))

    def _step_engine(self) -> None:
        started_at = time.monotonic()
        try:
            self.engine.step()
        except Exception:
            logger.exception("an engine step failed, and with it all running requests")
            for sequence in reversed(self.engine.scheduler.running):  # in reverse, so that no slot has to move
                self._fail_sequence(sequence, InferenceFailed())
        self._charge_tenants(self.engine.last_step_seconds, time.monotonic() - started_at)
        self._record_step(started_at)

    def _record_step(self, started_at: float) -> None:
        """Record a step, and the queue time of sequences in their first step."""
        scheduler = self.engine.scheduler
        self._metrics.observe_step(len(scheduler.running))
        for sequence in scheduler.running:
            handle = self._handles[sequence]
            if not handle.has_slot:
                handle.has_slot = True
                self._metrics.observe_queue_time(max(0.0, started_at - handle.submitted_at))

    def _record_load(self) -> None:
        """Record the numbers of sequences after every iteration, as cancelled sequences take no step."""
        scheduler = self.engine.scheduler
        self._metrics.set_load(len(scheduler.running), scheduler.num_waiting)

    def _fail_sequence(self, sequence: EngineSequence, error: RequestError) -> None:
        self._handles[sequence].error = error
        self.engine.abort_request(sequence)

    def _flush_events(self) -> None:
        events, self._events = self._events, []
        if events and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_dispatch_events, events)

    def _shut_down(self) -> None:
        """Fail all waiting and running requests, and reject new ones."""
        with self._condition:
            self._is_stopped = True
        for sequence in list(self._handles):
            self._fail_sequence(sequence, ServerShuttingDown())
        self._record_load()
        for job in [*self._control_queue, *self._job_queue]:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(ServerShuttingDown())
        self._flush_events()


def _dispatch_events(events: list[tuple[EngineGenerationHandle, TokenOutput | RequestError]]) -> None:
    for handle, output in events:
        handle.push_output(output)
