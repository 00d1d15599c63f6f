"""The worker process of one method. A method that runs out of memory does not end the others.

    python -m softprompt.comparison.runs.method_worker < job.json

The worker reads its job as JSON from standard input, and writes events as JSON lines to standard output.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from io import TextIOBase
from pathlib import Path

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.methods.method_registry import get_method
from softprompt.comparison.runs.failure_message import describe_failure
from softprompt.comparison.runs.method_job import MethodJob
from softprompt.comparison.runs.method_runner import MethodRunner, RunCallback
from softprompt.comparison.runs.run_cache_key import get_data_digests
from softprompt.comparison.runs.run_events import (
    FailureEvent,
    RunBeginEvent,
    RunEndEvent,
    RunEvent,
    TrainBeginEvent,
    serialize_event,
)
from softprompt.comparison.runs.run_store import RunStore
from softprompt.errors import DataError, DiskFull
from softprompt.log_formatter import EscapingLogFormatter
from softprompt.training import EvalEvent, StepEvent

OOM_SCORE_PATH = Path("/proc/self/oom_score_adj")


class EventWriter:
    """A callback that writes every event as a line of JSON."""

    def __init__(self, stream: TextIOBase):
        self.stream = stream

    def write_event(self, event: RunEvent) -> None:
        """Write an event."""
        self.stream.write(serialize_event(event))
        self.stream.flush()

    def on_run_begin(self, run_name: str) -> None:
        """Write that a run begins."""
        self.write_event(RunBeginEvent(run_name))

    def on_begin(self, steps: int, done: int) -> None:
        """Write that a training begins."""
        self.write_event(TrainBeginEvent(steps, done))

    def on_step(self, event: StepEvent) -> None:
        """Write a step."""
        self.write_event(event)

    def on_evaluate(self, event: EvalEvent) -> None:
        """Write an evaluation."""
        self.write_event(event)

    def should_stop(self) -> bool:
        """Return False: the parent process ends this process."""
        return False

    def on_run_end(self, run_name: str) -> None:
        """Write that a run is finished."""
        self.write_event(RunEndEvent(run_name))


def main() -> None:
    """Run the job from standard input."""
    writer = EventWriter(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # output of libraries must not mix with the events
    with suppress(OSError):
        OOM_SCORE_PATH.write_text("900")  # if memory runs out, the kernel kills this process and not its parent
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EscapingLogFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("httpx2", "httpx", "openai"):  # these log every request
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        run_job(MethodJob.model_validate_json(sys.stdin.read()), writer)
    except Exception as error:
        logging.getLogger("softprompt.comparison").exception("the method failed")
        writer.write_event(FailureEvent(describe_failure(error), isinstance(error, DiskFull)))


def run_job(job: MethodJob, callback: RunCallback) -> None:
    """Run the missing runs of a method, or its pilot run.

    Raises:
        SoftPromptError: the method failed.
    """
    experiment = Experiment.prepare(job.settings)
    if get_data_digests(experiment) != job.data_digests:
        raise DataError("the data has changed since the comparison began: run the comparison again")
    store = RunStore(job.run_folder, job.cache_key)
    runner = MethodRunner(experiment, job.method, get_method(job.method), job.steps, store, callback)
    if job.is_pilot:
        runner.measure_step_seconds()
    else:
        runner.run_missing()


if __name__ == "__main__":
    main()
