"""The events of runs. A worker process writes each as a line of JSON, and the parent process reads it.

The name of an event in JSON is its callback method without `on_`: `on_run_begin` gives `{"event": "run_begin"}`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from softprompt.training import EvalEvent, StepEvent


@dataclass(frozen=True)
class RunBeginEvent:
    """Event before a run is executed.

    Attributes:
        run: name of the run.
    """

    run: str


@dataclass(frozen=True)
class TrainBeginEvent:
    """Event before the first step of a training.

    Attributes:
        steps: number of steps of the training.
        done: number of steps that were done before, in a resumed training.
    """

    steps: int
    done: int


@dataclass(frozen=True)
class RunEndEvent:
    """Event after a run, also if it was finished by an earlier process.

    Attributes:
        run: name of the run.
    """

    run: str


@dataclass(frozen=True)
class FailureEvent:
    """Event after an error that ended the process of a method.

    Attributes:
        error: description of the error.
        is_disk_full: whether the disk is full, so that every other method would fail too.
    """

    error: str
    is_disk_full: bool


RunEvent: TypeAlias = RunBeginEvent | TrainBeginEvent | StepEvent | EvalEvent | RunEndEvent | FailureEvent

#: Classes of the events by their names in JSON.
EVENT_CLASSES: dict[str, type[RunEvent]] = {
    "run_begin": RunBeginEvent,
    "begin": TrainBeginEvent,
    "step": StepEvent,
    "evaluate": EvalEvent,
    "run_end": RunEndEvent,
    "failure": FailureEvent,
}
_EVENT_NAMES = {event_class: name for name, event_class in EVENT_CLASSES.items()}


def serialize_event(event: RunEvent) -> str:
    """Return an event as a line of JSON."""
    return json.dumps({"event": _EVENT_NAMES[type(event)], **asdict(event)}) + "\n"


def parse_event(line: str) -> RunEvent:
    """Return the event of a line of JSON.

    Raises:
        ValueError: the line is incomplete.
    """
    fields: dict[str, Any] = json.loads(line)
    return EVENT_CLASSES[fields.pop("event")](**fields)
