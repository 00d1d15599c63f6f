"""Training of many prompts on a Ray cluster, with runs of lost workers moved to new ones.

A worker trains all its runs jointly on its own copy of the model. So the runs are assigned once, with about equal work
for each worker, and not fetched one by one. A run by itself would have no others to share its passes with, and each run
would load the model and read its data again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from softprompt.errors import ClusterError, translate_os_errors
from softprompt.training.callbacks import NullCallback, TrainerCallback
from softprompt.training.cluster.cluster_worker import ClusterWorker, WorkerAssignment, WorkerEvent
from softprompt.training.cluster.ray_connection import connect_to_ray
from softprompt.training.cluster.run_assignment import ClusterCapacity, assign_runs
from softprompt.training.concurrent_runs import RunFailure, check_compatible_runs
from softprompt.training.tune_result import TuneResult
from softprompt.training.tune_settings import TuneSettings

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.25  # between polls of a worker
START_TIMEOUT_S = 120  # another job may have taken a worker's place until that job ends
#: Number of lost workers that an assignment survives. One loss may be an accident; after more the runs are the cause.
MAX_WORKER_LOSSES = 3


def tune_on_cluster(
    runs: Mapping[str, TuneSettings],
    make_callback: Callable[[str], TrainerCallback] = lambda _: NullCallback(),
    *,
    resume: bool = False,
    overwrite: bool = False,
    address: str | None = None,
) -> dict[str, TuneResult | RunFailure]:
    """Train several prompts on a Ray cluster, and save each. Returns the result of each run by its name.

    Each run ends as with `tune_concurrently`, within rounding. No run begins before all are prepared. The runs of a
    lost worker continue from their last checkpoints on another worker. They fail after `MAX_WORKER_LOSSES` more losses.

    Args:
        runs: Settings of each run by run name.
        make_callback: Function from a run name to the run's callback.
        resume: Whether to continue runs from their last checkpoints. Runs without a run folder start at the beginning.
        overwrite: Whether to replace existing prompts or runs.
        address: Address of the cluster. By default it is `RAY_ADDRESS`, else a cluster that runs on this machine, else
            a new one on this machine.

    Raises:
        SettingError: If there are no runs, they do not share one model, two runs write to one folder, Ray is not
            installed, or a machine of the cluster does not see their files.
        ClusterError: If the cluster cannot be reached, or no worker could be started.
        SoftPromptError: If a run cannot begin; the message starts with its name, and no run was trained.
    """
    check_compatible_runs(runs)
    with ExitStack() as stack:
        ray = stack.enter_context(connect_to_ray(address))
        outputs = {settings.output.parent.absolute() for settings in runs.values()}
        markers = [stack.enter_context(_create_marker_file(folder)) for folder in outputs]
        assignment = WorkerAssignment(
            runs, frozenset(runs if resume else ()), overwrite, Path.cwd(), [*markers, *_collect_input_paths(runs)]
        )
        return _ClusterDispatcher(ray, assignment, {name: make_callback(name) for name in runs}).run_all()


@contextmanager
def _create_marker_file(folder: Path) -> Iterator[Path]:
    """Create a temporary file in a folder, which shows whether a worker sees the same folder."""
    created_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        marker = NamedTemporaryFile(prefix=".seen-", dir=folder)  # noqa: SIM115
    try:
        with marker:
            yield Path(marker.name)
    finally:
        with suppress(OSError):  # fails if something was saved there
            for path in created_folders:
                path.rmdir()


def _collect_input_paths(runs: Mapping[str, TuneSettings]) -> list[Path]:
    """Collect the existing paths that the runs read; names on the Hub are not paths."""
    names = {name for run in runs.values() for name in (run.model, run.data, run.validation) if name}
    return [path for path in map(Path, sorted(names)) if path.exists()]


@dataclass
class _WorkerSlot:
    """Worker with its assignment.

    Attributes:
        worker: Ray's handle of the worker.
        assignment: Assignment of the worker.
        num_losses: Number of workers that were lost with this assignment.
        pending_poll: Ray's reference to the poll in flight, if there is one.
    """

    worker: Any
    assignment: WorkerAssignment
    num_losses: int = 0
    pending_poll: Any = None


class _ClusterDispatcher:
    """Dispatcher that assigns runs to workers, forwards their events, and reassigns the runs of lost workers."""

    def __init__(self, ray: Any, assignment: WorkerAssignment, callbacks: Mapping[str, TrainerCallback]):
        self.ray, self.assignment, self.callbacks = ray, assignment, callbacks
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.capacity = ClusterCapacity.from_nodes(machines, next(iter(assignment.runs.values())).device)
        self.workers: list[Any] = []
        self.started_runs: set[str] = set()
        self.results: dict[str, TuneResult | RunFailure] = {}

    def run_all(self) -> dict[str, TuneResult | RunFailure]:
        """Train all runs. Returns the result of each run by its name."""
        try:
            workers = self._start_workers(min(self.capacity.num_workers, len(self.assignment.runs)))
            worker_runs = assign_runs(self.assignment.runs, len(workers))
            slots = [
                _WorkerSlot(worker, replace(self.assignment, runs=runs))
                for worker, runs in zip(workers, worker_runs, strict=True)
            ]
            prepared, unprepared = self._run_phase(
                {slot.worker.prepare_runs.remote(slot.assignment): slot for slot in slots}
            )
            started, unstarted = self._run_phase({slot.worker.start_runs.remote(): slot for slot in prepared})
            self._train_runs(started, unprepared + unstarted)
        finally:
            for worker in self.workers:
                self.ray.kill(worker)
        return {name: self.results[name] for name in self.assignment.runs}

    def _start_workers(self, count: int) -> list[Any]:
        """Start `count` workers, or fewer if the cluster has no room for all of them."""
        starting = {(worker := self._spawn_worker()).is_alive.remote(): worker for _ in range(count)}
        ready, missing = self.ray.wait(list(starting), num_returns=count, timeout=START_TIMEOUT_S)
        if not ready:
            logger.warning("the cluster has no room for a worker now: waiting for room")
            ready, missing = self.ray.wait(missing, num_returns=1)
        for reference in missing:
            self.ray.kill(starting[reference])
        workers, failures = [], []
        for reference in ready:
            try:
                self.ray.get(reference)
                workers.append(starting[reference])
            except self.ray.exceptions.RayError as error:
                failures.append(error)
        if not workers:
            raise ClusterError(f"no worker could be started: {str(failures[0]).strip().splitlines()[-1]}")
        return workers

    def _spawn_worker(self) -> Any:
        """Create a worker, which starts as soon as the cluster has room for it."""
        actor_class = self.ray.remote(
            num_cpus=self.capacity.cores_per_worker,
            num_gpus=self.capacity.gpus_per_worker,
            max_concurrency=2,  # a poll while it trains
            scheduling_strategy="SPREAD",
        )(ClusterWorker)
        self.workers.append(actor_class.remote(max(1, self.capacity.cores_per_worker)))
        return self.workers[-1]

    def _run_phase(self, calls: dict[Any, _WorkerSlot]) -> tuple[list[_WorkerSlot], list[_WorkerSlot]]:
        """Wait for calls to complete. Returns the slots that completed, and those whose worker was lost."""
        completed = list(self._iter_completed(calls))
        return [slot for slot, is_lost in completed if not is_lost], [slot for slot, is_lost in completed if is_lost]

    def _train_runs(self, slots: Iterable[_WorkerSlot], lost: Iterable[_WorkerSlot]) -> None:
        calls = {slot.worker.train_runs.remote(): slot for slot in slots}
        for slot in lost:
            self._reassign_runs(slot, calls)
        for slot, is_lost in self._iter_completed(calls):
            if is_lost:
                self._reassign_runs(slot, calls)
            else:
                self.ray.kill(slot.worker)  # makes room for a replacement of a lost worker

    def _reassign_runs(self, lost: _WorkerSlot, calls: dict[Any, _WorkerSlot]) -> None:
        """Assign the unfinished runs of a lost worker to a new one, or let them fail after too many losses."""
        self.ray.kill(lost.worker)  # it may only be unreachable, and two workers must not write to one folder
        unfinished = {name: settings for name, settings in lost.assignment.runs.items() if name not in self.results}
        num_losses = lost.num_losses + 1
        if not unfinished:
            return
        if num_losses > MAX_WORKER_LOSSES:
            error = ClusterError(
                f"lost {num_losses} workers: their machines ran out of memory or are gone, see Ray's logs. Continue "
                "from the checkpoints with `resume=True`"
            )
            self.results |= dict.fromkeys(unfinished, RunFailure(error))
            return
        logger.warning(
            "lost a worker: another one continues from the last checkpoints (unfinished runs: %d)", len(unfinished)
        )
        names = unfinished.keys()
        resumed = names & (self.started_runs if self.assignment.overwrite else names) | self.assignment.resume
        slot = _WorkerSlot(self._spawn_worker(), replace(lost.assignment, runs=unfinished, resume=resumed), num_losses)
        calls[slot.worker.resume_assignment.remote(slot.assignment)] = slot

    def _iter_completed(self, calls: dict[Any, _WorkerSlot]) -> Iterator[tuple[_WorkerSlot, bool]]:
        """Yield each slot whose call has ended, and whether its worker was lost. Meanwhile poll all workers.

        Raises:
            Exception: If a worker raised an exception.
        """
        while calls:
            self._start_polls(calls.values())
            ended_calls, _ = self.ray.wait(list(calls), timeout=POLL_INTERVAL_S)
            self._collect_polls(calls.values())
            for call in ended_calls:
                slot = calls.pop(call)
                is_lost = self._is_lost(call)
                self._drain_events(slot)
                yield slot, is_lost

    def _is_lost(self, call: Any) -> bool:
        try:
            self.ray.get(call)
        except self.ray.exceptions.RayTaskError as error:  # wraps an error that the worker raised
            raise error.cause from error
        except self.ray.exceptions.RayActorError:
            return True
        return False

    def _start_polls(self, slots: Iterable[_WorkerSlot]) -> None:
        """Poll each worker that has no poll in flight."""
        for slot in slots:
            if slot.pending_poll is None:
                runs_to_stop = frozenset(name for name in slot.assignment.runs if self.callbacks[name].should_stop())
                slot.pending_poll = slot.worker.poll_events.remote(runs_to_stop)

    def _collect_polls(self, slots: Iterable[_WorkerSlot]) -> None:
        """Forward the events of the polls that have completed."""
        polls = {slot.pending_poll: slot for slot in slots if slot.pending_poll is not None}
        completed, _ = self.ray.wait(list(polls), num_returns=len(polls), timeout=0) if polls else ([], [])
        for poll in completed:
            polls[poll].pending_poll = None
            with suppress(self.ray.exceptions.RayActorError):  # the worker's main call ends with this error too
                for event in self.ray.get(poll):
                    self._forward_event(event)

    def _drain_events(self, slot: _WorkerSlot) -> None:
        """Forward the remaining events of a worker whose call has ended."""
        with suppress(self.ray.exceptions.RayActorError):
            earlier_events = [] if slot.pending_poll is None else self.ray.get(slot.pending_poll)
            slot.pending_poll = None
            for event in [*earlier_events, *self.ray.get(slot.worker.poll_events.remote(frozenset()))]:
                self._forward_event(event)

    def _forward_event(self, event: WorkerEvent) -> None:
        if event.kind == "log":
            name, level, message = event.arguments
            logging.getLogger(name).log(level, "%s", message)
        elif event.kind == "run_ended":
            self.results[event.run_name] = event.arguments[0]
        else:
            self.started_runs |= {event.run_name} if event.kind == "on_begin" else set()
            getattr(self.callbacks[event.run_name], event.kind)(*event.arguments)
