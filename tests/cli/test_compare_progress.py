"""Progress of a comparison, updated by its events."""

from __future__ import annotations

import pytest

from softprompt.cli import compare_progress
from softprompt.cli.compare_progress import CompareProgressBar
from softprompt.comparison.runs.run_events import RunBeginEvent, RunEndEvent, TrainBeginEvent
from softprompt.training import StepEvent
from tests.cli.test_progress_lines import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(compare_progress, "get_monotonic_time", clock)
    return clock


@pytest.fixture
def bar(clock: Clock) -> CompareProgressBar:
    bar = CompareProgressBar()
    bar.on_comparison_begin(6)
    bar.on_method_begin("lora", "LoRA, rank 8")
    return bar


def test_compare_progress_shows_the_current_run_and_step(bar: CompareProgressBar) -> None:
    bar.on_event(RunBeginEvent("lora/trial/0/0"))
    assert bar._describe_progress() == "LoRA, rank 8: 0 of 6 runs done, lora/trial/0/0"
    bar.on_event(TrainBeginEvent(100, 0))
    bar.on_event(StepEvent(7, 0.51234, 1e-3, 1.0, 100.0))
    assert bar._describe_progress() == "LoRA, rank 8: 0 of 6 runs done, step 7/100  loss 0.512"


def test_remaining_time_is_estimated_from_the_executed_runs(bar: CompareProgressBar, clock: Clock) -> None:
    bar.on_event(RunEndEvent("lora/trial/0/0"))  # finished by an earlier command
    assert "left" not in bar._describe_progress()
    bar.on_event(RunBeginEvent("lora/trial/1/0"))
    clock.now += 120
    bar.on_event(RunEndEvent("lora/trial/1/0"))
    assert bar._describe_progress().endswith("2 of 6 runs done, lora/trial/1/0, about 8 min left")


def test_all_runs_of_a_finished_method_are_counted_as_done(bar: CompareProgressBar) -> None:
    bar.on_event(RunEndEvent("lora/trial/0/0"))
    bar.on_method_end("lora", 4, error=None)
    bar.on_method_begin("hard", "hard prompt")
    assert bar._describe_progress() == "hard prompt: 4 of 6 runs done"
