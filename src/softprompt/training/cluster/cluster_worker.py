"""Worker of a cluster, which trains its runs on its own copy of the model. This module does not depend on Ray."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from softprompt.errors import SettingError, SoftPromptError
from softprompt.training.callbacks import EvalEvent, StepEvent
from softprompt.training.concurrent_runs import RunFailure, prepare_runs, start_runs, train_runs
from softprompt.training.prepared_run import PreparedRun
from softprompt.training.trainer import Trainer
from softprompt.training.tune_settings import TuneSettings

logger = logging.getLogger("softprompt")


@dataclass(frozen=True)
class WorkerAssignment:
    """Assignment of runs to a worker.

    Attributes:
        runs: Settings of each run by run name.
        resume: Names of the runs that continue from their last checkpoint, if they have one.
        overwrite: Whether to replace existing prompts or runs.
        working_directory: Directory that paths are relative to.
        required_paths: Files and folders that the dispatcher sees, and the worker must see too.
    """

    runs: Mapping[str, TuneSettings]
    resume: Set[str]
    overwrite: bool
    working_directory: Path
    required_paths: Sequence[Path]


class WorkerEvent(NamedTuple):
    """Event on a worker.

    Attributes:
        run_name: Name of the run; empty for `log`.
        kind: `on_begin`, `on_step` or `on_evaluate`, methods of the run's callback; `run_ended`; or `log`.
        arguments: Arguments of the callback's method, the result of the run, or the log record's name, level and text.
    """

    run_name: str
    kind: str
    arguments: tuple[Any, ...]


class ClusterWorker:
    """Worker that prepares, starts and trains its runs. Meanwhile another thread may call `poll_events`."""

    def __init__(self, cores: int):
        torch.set_num_threads(cores)
        self._events: deque[WorkerEvent] = deque()
        self._runs_to_stop: Set[str] = frozenset()
        self._prepared_runs: dict[str, PreparedRun] = {}
        self._trainers: dict[str, Trainer] = {}
        logger.setLevel(logging.INFO)  # the dispatcher's process decides what to show
        logger.addHandler(_LogForwarder(self.emit_event))

    def is_alive(self) -> bool:
        """Return True."""
        return True

    def emit_event(self, run_name: str, kind: str, *arguments: Any) -> None:
        """Queue an event for the next poll."""
        self._events.append(WorkerEvent(run_name, kind, arguments))

    def poll_events(self, runs_to_stop: Set[str]) -> list[WorkerEvent]:
        """Store which runs should stop, and return the events since the last poll."""
        self._runs_to_stop = runs_to_stop
        return [self._events.popleft() for _ in range(len(self._events))]

    def should_stop_run(self, run_name: str) -> bool:
        """Return whether a run should stop."""
        return run_name in self._runs_to_stop

    def prepare_runs(self, assignment: WorkerAssignment) -> None:
        """Prepare the runs; nothing is written.

        Raises:
            SoftPromptError: If a run cannot begin, or this machine does not see the required paths.
        """
        _enter_working_directory(assignment.working_directory, assignment.required_paths)
        self._prepared_runs = prepare_runs(assignment.runs, resume=assignment.resume, overwrite=assignment.overwrite)

    def start_runs(self) -> None:
        """Start the runs.

        Raises:
            SoftPromptError: If a run cannot begin; no run was trained.
        """
        self._trainers = start_runs(self._prepared_runs, lambda run: _RemoteCallback(self, run))

    def train_runs(self) -> None:
        """Train the runs; each is saved and reported when it ends."""
        train_runs(self._prepared_runs, self._trainers, lambda run, result: self.emit_event(run, "run_ended", result))

    def resume_assignment(self, assignment: WorkerAssignment) -> None:
        """Prepare, start and train the runs of a lost worker. They fail if they cannot begin; other runs continue."""
        try:
            self.prepare_runs(assignment)
            self.start_runs()
        except SoftPromptError as error:
            for run in assignment.runs:
                self.emit_event(run, "run_ended", RunFailure(error))
            return
        self.train_runs()


def _enter_working_directory(working_directory: Path, required_paths: Sequence[Path]) -> None:
    """Change to the working directory, and check that the required paths exist."""
    if missing := [
        path
        for path in (working_directory, *(working_directory / path for path in required_paths))
        if not path.exists()
    ]:
        raise SettingError(
            f"{socket.gethostname()}, a machine of the cluster, does not see {missing[0]}: data, model and output must "
            "be on a disk that every machine of the cluster sees under the same path"
        )
    os.chdir(working_directory)


class _RemoteCallback:
    """Callback that queues events of its run for the worker's next poll."""

    def __init__(self, worker: ClusterWorker, run_name: str):
        self.worker, self.run_name = worker, run_name

    def on_begin(self, steps: int, done: int) -> None:
        """Queue the beginning of the run."""
        self.worker.emit_event(self.run_name, "on_begin", steps, done)

    def on_step(self, event: StepEvent) -> None:
        """Queue a step."""
        self.worker.emit_event(self.run_name, "on_step", event)

    def on_evaluate(self, event: EvalEvent) -> None:
        """Queue an evaluation."""
        self.worker.emit_event(self.run_name, "on_evaluate", event)

    def should_stop(self) -> bool:
        """Return whether the run should stop."""
        return self.worker.should_stop_run(self.run_name)


class _LogForwarder(logging.Handler):
    """Log handler that queues the worker's log records; Ray would write them to a file on the worker's machine."""

    def __init__(self, emit_event: Callable[..., None]):
        super().__init__()
        self.emit_event = emit_event

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a log record."""
        self.emit_event("", "log", record.name, record.levelno, record.getMessage())
