"""The events of runs, and their lines of JSON."""

from __future__ import annotations

import io
import json
from typing import get_args

import pytest

from softprompt.comparison.runs.method_worker import EventWriter
from softprompt.comparison.runs.run_events import (
    EVENT_CLASSES,
    FailureEvent,
    RunBeginEvent,
    RunEndEvent,
    RunEvent,
    TrainBeginEvent,
    parse_event,
    serialize_event,
)
from softprompt.training import EvalEvent, StepEvent

EVENTS: dict[str, RunEvent] = {
    "run_begin": RunBeginEvent("lora/seed/0/0"),
    "begin": TrainBeginEvent(100, 0),
    "step": StepEvent(1, 0.5, 1e-3, 2.0, 120.0),
    "evaluate": EvalEvent(10, {"accuracy": 0.9, "loss": 0.3}, is_best=True),
    "run_end": RunEndEvent("lora/seed/0/0"),
    "failure": FailureEvent("ran out of memory", is_disk_full=False),
}


def test_every_event_has_a_name() -> None:
    assert set(EVENT_CLASSES.values()) == set(get_args(RunEvent))
    assert {name: type(event) for name, event in EVENTS.items()} == EVENT_CLASSES


@pytest.mark.parametrize("name", EVENTS)
def test_event_is_the_same_after_serializing_and_parsing(name: str) -> None:
    line = serialize_event(EVENTS[name])
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert json.loads(line)["event"] == name
    assert parse_event(line) == EVENTS[name]


def test_incomplete_line_is_rejected() -> None:
    with pytest.raises(json.JSONDecodeError):
        parse_event(serialize_event(EVENTS["step"])[:20])


def test_writer_writes_the_event_of_each_callback_method() -> None:
    stream = io.StringIO()
    writer = EventWriter(stream)
    writer.on_run_begin("lora/seed/0/0")
    writer.on_begin(100, 0)
    writer.on_step(StepEvent(1, 0.5, 1e-3, 2.0, 120.0))
    writer.on_evaluate(EvalEvent(10, {"accuracy": 0.9, "loss": 0.3}, is_best=True))
    writer.on_run_end("lora/seed/0/0")
    events = [parse_event(line) for line in stream.getvalue().splitlines()]
    assert events == [event for name, event in EVENTS.items() if name != "failure"]
    assert not writer.should_stop()
