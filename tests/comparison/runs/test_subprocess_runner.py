"""Worker processes that fail, die or are interrupted."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from softprompt.comparison import AdaptationMethod, Experiment, FitConfig, FittedModel, MethodKind
from softprompt.comparison.runs.failure_message import describe_failure
from softprompt.comparison.runs.method_job import MethodJob
from softprompt.comparison.runs.run_cache_key import get_data_digests
from softprompt.comparison.runs.run_events import RunEndEvent, RunEvent, TrainBeginEvent
from softprompt.comparison.runs.run_plan import RunSpec
from softprompt.comparison.runs.run_store import RunStore
from softprompt.comparison.runs.subprocess_runner import run_in_subprocess
from softprompt.errors import SettingError
from softprompt.training import StepEvent, TrainerCallback
from tests.comparison.conftest import Settings


class Dies(AdaptationMethod):
    """Method whose process is killed as the system does when memory runs out."""

    title, kind, is_trained = "dies", MethodKind.WEIGHTS, False

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Waits(Dies):
    """Method that never ends."""

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
        print("a library prints")  # noqa: T201
        callback.on_begin(7, 0)
        time.sleep(600)
        raise AssertionError


def job_of(settings: Settings, name: str, tmp_path: Path) -> MethodJob:
    return MethodJob(
        settings=settings(),
        method=name,
        steps=2,
        is_pilot=False,
        data_digests=get_data_digests(Experiment.prepare(settings())),
        run_folder=tmp_path / "cells",
        cache_key={},
    )


def test_a_method_runs_in_its_own_process(settings: Settings, tmp_path: Path) -> None:
    events: list[RunEvent] = []
    assert run_in_subprocess(job_of(settings, "lora", tmp_path), tmp_path / "log", events.append) is None
    store = RunStore(tmp_path / "cells")
    assert store.load_measurement(RunSpec("lora", "seed", 1)).metrics["accuracy"] >= 0
    assert [event.run for event in events if isinstance(event, RunEndEvent)] == [
        "lora/trial/0/0", "lora/trial/1/0", "lora/seed/0/0", "lora/seed/0/1",
    ]  # fmt: skip
    assert [event.steps for event in events if isinstance(event, TrainBeginEvent)] == [2, 2, 2]
    assert sum(isinstance(event, StepEvent) for event in events) == 6


@pytest.mark.usefixtures("warm_workers")
def test_a_killed_worker_is_reported_as_out_of_memory(settings: Settings, tmp_path: Path) -> None:
    error = run_in_subprocess(job_of(settings, f"{__name__}:Dies", tmp_path), tmp_path / "log", lambda _: None)
    assert error == "ran out of memory: the system ended it (SIGKILL)"
    assert not (tmp_path / "cells").exists()


@pytest.mark.usefixtures("warm_workers")
def test_the_error_of_a_worker_is_returned_and_its_traceback_is_logged(settings: Settings, tmp_path: Path) -> None:
    error = run_in_subprocess(job_of(settings, "last:9", tmp_path), tmp_path / "log", lambda _: None)
    assert error is not None
    assert "has 3 layers" in error
    assert "Traceback" in (tmp_path / "log").read_text()


def test_the_worker_process_ends_on_a_keyboard_interrupt(settings: Settings, tmp_path: Path) -> None:
    """Ctrl-C reaches the parent process; the worker must not survive it."""
    begun: list[int] = []

    def interrupted(event: RunEvent) -> None:
        if isinstance(event, TrainBeginEvent):
            begun.append(event.steps)
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run_in_subprocess(job_of(settings, f"{__name__}:Waits", tmp_path), tmp_path / "log", interrupted)
    assert begun == [7]  # output of a library is not an event
    assert "a library prints" in (tmp_path / "log").read_text()
    assert threading.active_count() == before
    assert not _workers()


def _workers() -> list[str]:
    """Return the command lines of this process's children that are workers."""
    mine = str(os.getpid())
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "stat").read_text().rsplit(")", 1)[1].split()[1] == mine:
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return [line for line in found if "runs.method_worker" in line]


def test_failures_have_readable_messages() -> None:
    assert describe_failure(SettingError("say more")) == "say more"
    for full in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 5"),
        RuntimeError("CUDA out of memory"),
    ):
        assert describe_failure(full).startswith("ran out of memory: ")
    assert describe_failure(ValueError("odd")) == "ValueError: odd"
