"""Progress lines without a terminal: their texts, and when they are printed."""

from __future__ import annotations

import io
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from softprompt.cli import progress_lines
from softprompt.cli.progress_lines import (
    FIRST_LINE_DELAY_S,
    LINE_INTERVALS_S,
    ProgressLines,
    TaskProgress,
    format_duration,
    show_activity,
    show_progress,
    track_items,
)
from tests.cli.conftest import Softprompt, Tune


class Clock:
    """Clock that advances when the test says so, or by `step` seconds with each reading."""

    def __init__(self) -> None:
        self.now, self.step = 1000.0, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_lines, "get_monotonic_time", clock)
    return clock


@pytest.fixture
def looking_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_lines, "POLL_INTERVAL_S", 0.001)


@pytest.fixture(autouse=True)
def not_looking_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the polling thread, so that lines are printed at the same moments in every run."""
    monkeypatch.setattr(progress_lines, "POLL_INTERVAL_S", 3600.0)


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=200)


def printed(where: Console) -> list[str]:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue().splitlines()


def test_distil_prints_how_many_inputs_are_answered(
    softprompt: Softprompt, base: Path, pairs: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprompt.distillation.response_teacher.DECODING_BATCH_SIZE", 1)
    clock.step = 1.0
    (tmp_path / "text.txt").write_text("the film was great fun, so say good or bad")
    options = ("--data", pairs, "--output", tmp_path / "p", "--num-virtual-tokens", 3, "--max-new-tokens", 2)
    ran = softprompt("distil", "--model", base, "--context", tmp_path / "text.txt", "--max-steps", 1, *options)
    assert ran.code == 0
    assert re.search(r"asking the teacher: \d+ of 12, about", ran.err)


def test_progress_lines_start_after_two_seconds_and_become_less_frequent(clock: Clock) -> None:
    where, began = console(), clock.now
    lines = ProgressLines(where, lambda: f"{clock.now - began:.0f}")
    for _ in range(1200):
        clock.now += 0.1
        lines.print_if_due()
    assert [int(line) for line in printed(where)] == [2, 7, 17, 32, 62, 92]
    assert (FIRST_LINE_DELAY_S, LINE_INTERVALS_S[0], LINE_INTERVALS_S[-1]) == (2, 5, 30)


def test_a_late_poll_prints_only_one_progress_line(clock: Clock) -> None:
    where = console()
    lines = ProgressLines(where, lambda: "reading")
    clock.now += 300
    for _ in range(3):
        lines.print_if_due()
    assert printed(where) == ["reading"]


def test_no_progress_lines_are_printed_for_short_tasks_or_on_terminals(clock: Clock) -> None:
    quick, terminal = console(), console(terminal=True)
    lines = ProgressLines(quick, lambda: "reading")
    clock.now += 1.9
    lines.print_if_due()
    assert printed(quick) == []
    drawn = ProgressLines(terminal, lambda: "reading")
    clock.now += 100
    drawn.print_if_due()
    with drawn.print_periodically():
        pass
    assert printed(terminal) == []


def test_progress_lines_with_brackets_are_printed_unchanged(clock: Clock) -> None:
    where = console()
    lines = ProgressLines(where, lambda: "reading [/bold] [red]a[/red].jsonl")
    clock.now += 3
    lines.print_if_due()
    assert printed(where) == ["reading [/bold] [red]a[/red].jsonl"]


def test_task_progress_text_has_phase_count_and_remaining_time(clock: Clock) -> None:
    activity = TaskProgress("preparing")
    clock.now += 12
    assert str(activity) == "preparing, 12 s"
    activity.start_phase("training", 100, 40)
    assert str(activity) == "training: 40 of 100"
    clock.now += 20
    activity.update(50, "loss 0.693")
    assert str(activity) == "training: 50 of 100, loss 0.693, about 2 min left"
    activity.on_progress("measuring", 5, 10)
    assert str(activity) == "measuring: 5 of 10"
    clock.now += 4
    activity.on_progress("measuring", 9, 10)
    assert str(activity) == "measuring: 9 of 10, about 1 s left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (1.4, "1 s"),
        (89.0, "89 s"),
        (91.0, "2 min"),
        (3570.0, "1 h 0 min"),
        (3500.0, "58 min"),
        (7500.0, "2 h 5 min"),
    ],
)
def test_durations_are_formatted_in_seconds_minutes_and_hours(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_progress_lines_are_printed_while_the_main_thread_is_busy(clock: Clock, looking_on: None) -> None:
    where, said = console(), threading.Event()
    with show_activity(where, "loading [a]"):
        clock.now += 2.5
        for _ in range(2000):
            if printed(where):
                said.set()
                break
            said.wait(0.005)
    assert printed(where) == ["loading [a], 2 s"]
    assert not any(thread.name == "progress lines" for thread in threading.enumerate())


def test_the_progress_thread_ends_after_an_error(clock: Clock) -> None:
    with pytest.raises(ValueError, match="broken"), show_activity(console(), "loading"):
        raise ValueError("broken")
    assert not any(thread.name == "progress lines" for thread in threading.enumerate())


def test_track_items_prints_the_count_and_the_remaining_time(clock: Clock) -> None:
    where, seen = console(), []
    for item in track_items(where, "abcd", "letters", 4):
        seen.append(item)
        clock.now += 1
    assert "".join(seen) == "abcd"
    assert printed(where) == ["letters: 2 of 4, about 2 s left"]


def test_show_progress_prints_the_counts_of_its_callback(clock: Clock) -> None:
    where = console()
    with show_progress(where, "letters") as on_progress:
        for done in range(5):
            on_progress(done, 4)
            clock.now += 1
    assert printed(where) == ["letters: 2 of 4, about 2 s left"]


@pytest.fixture
def hurrying(clock: Clock) -> Clock:
    """Clock that advances by a second with each reading."""
    clock.step = 1.0
    return clock


def test_tune_prints_progress_lines(tune: Tune, hurrying: Clock) -> None:
    ran = tune("--json")
    assert ran.json["steps"] == 3
    assert "training: " in ran.err
    assert " of 3, loss " in ran.err
    assert " left" in ran.err


def test_a_sweep_prints_progress_lines(tune: Tune, hurrying: Clock) -> None:
    ran = tune("--sweep", "seed=0,1", "--json")
    assert len(ran.json["runs"]) == 2
    assert "training 2 prompts, steps: " in ran.err
    assert " of 6, mean loss " in ran.err


def test_evaluate_prints_progress_lines(
    softprompt: Softprompt, classifier: Path, writer: Path, reviews: Path, hurrying: Clock, write_jsonl: Any
) -> None:
    ran = softprompt("evaluate", classifier, "--data", reviews, "--json")
    assert ran.json["examples"] > 0
    assert "evaluating the soft prompt, examples: " in ran.err


def test_compare_prints_progress_lines(
    softprompt: Softprompt, base: Path, reviews: Path, tmp_path: Path, hurrying: Clock, write_jsonl: Any
) -> None:
    test = write_jsonl("test.jsonl", [{"text": f"film number {i}", "label": ("good", "bad")[i % 2]} for i in range(4)])
    line = ("--model", base, "--data", reviews, "--validation", test, "--test", test, "--output", tmp_path / "report")
    ran = softprompt("compare", *line, "--methods", "hard", "--allow-overlap", "--seeds", 1, "--trials", 1, "--json")
    assert "hard" in ran.json["methods"]
    assert " runs done" in ran.err
