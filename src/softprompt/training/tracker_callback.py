"""Callback that sends a run's metrics to TensorBoard, Weights & Biases or Trackio, through accelerate's trackers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from softprompt.errors import SettingError
from softprompt.training.callbacks import EvalEvent, StepEvent
from softprompt.training.run_settings import RunSettings

TRACKER_NAMES = ("tensorboard", "wandb", "trackio")


class TrackerCallback:
    """Callback that passes metrics to one of accelerate's trackers."""

    def __init__(self, backend: Any):
        self.backend = backend

    @classmethod
    @contextmanager
    def open_tracker(cls, name: str, settings: RunSettings) -> Iterator[TrackerCallback]:
        """Open a tracker for a run, and close it at the end.

        Args:
            name: `tensorboard`, `wandb` or `trackio`.
            settings: Settings of the run, which are sent too.

        Raises:
            SettingError: If the tracker is unknown or its package is not installed.
        """
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

        if name not in TRACKER_NAMES:
            raise SettingError(f"unknown tracker {name!r}: choose one of {', '.join(TRACKER_NAMES)}")
        if name not in {tracker.value for tracker in get_available_trackers()}:
            raise SettingError(f"{name} is not installed: pip install 'softprompt[track]'")
        PartialState()  # the trackers' logger does not work without it
        tracker_class = LOGGER_TYPE_TO_CLASS[name]
        folder = {"logging_dir": str(settings.run_folder)} if tracker_class.requires_logging_directory else {}
        backend = tracker_class(settings.output.name, **folder)
        with redirect_stdout(sys.stderr):  # trackers print greetings, but standard output may hold JSON only
            backend.start()
            backend.store_init_configuration(_flatten_settings(settings))
        try:
            yield cls(backend)
        finally:
            with redirect_stdout(sys.stderr):
                backend.finish()

    def on_begin(self, steps: int, done: int) -> None:
        """Do nothing."""

    def on_step(self, event: StepEvent) -> None:
        """Send the metrics of a step."""
        metrics = {"loss": event.loss, "learning_rate": event.learning_rate, "gradient_norm": event.gradient_norm}
        speed = {"useful_tokens_per_second": event.useful_tokens_per_second}
        self.backend.log(metrics | speed, step=event.step)

    def on_evaluate(self, event: EvalEvent) -> None:
        """Send the metrics of an evaluation."""
        self.backend.log({f"validation/{name}": value for name, value in event.metrics.items()}, step=event.step)

    def should_stop(self) -> bool:
        """Return False."""
        return False


def _flatten_settings(settings: RunSettings) -> dict[str, Any]:
    """Convert settings to plain values, which all trackers accept."""
    return {
        n: v if isinstance(v, int | float | str | bool) else str(v) for n, v in settings.model_dump(mode="json").items()
    }
