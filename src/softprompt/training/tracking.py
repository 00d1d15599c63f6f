"""Send a run's figures to TensorBoard, Weights & Biases or Trackio, through accelerate's trackers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

from softprompt.errors import SettingError
from softprompt.training.settings import TuneSettings
from softprompt.training.watching import Evaluated, Stepped, Watcher

TRACKERS = ("tensorboard", "wandb", "trackio")


class Tracker:
    """A watcher that passes figures on to one of accelerate's trackers."""

    def __init__(self, backend: Any):
        self.backend = backend

    @classmethod
    @contextmanager
    def open(cls, name: str, settings: TuneSettings) -> Iterator[Tracker]:
        """Begin tracking a run, and end it.

        Raises:
            SettingError: there is no such tracker, or its package is not installed.
        """
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

        if name not in TRACKERS:
            raise SettingError(f"unknown tracker {name!r}: one of {', '.join(TRACKERS)}")
        if name not in {tracker.value for tracker in get_available_trackers()}:
            raise SettingError(f"{name} is not installed: pip install 'softprompt[track]'")
        PartialState()  # the trackers' own logger refuses to work without it
        kind = LOGGER_TYPE_TO_CLASS[name]
        folder = {"logging_dir": str(settings.run_folder)} if kind.requires_logging_directory else {}
        backend = kind(settings.output.name, **folder)
        with redirect_stdout(sys.stderr):  # they greet and take leave there, where only our JSON may stand
            backend.start()
            backend.store_init_configuration(_flat(settings))
        try:
            yield cls(backend)
        finally:
            with redirect_stdout(sys.stderr):
                backend.finish()

    def begin(self, steps: int, done: int) -> None:
        """Nothing to send."""

    def stepped(self, event: Stepped) -> None:
        """Send an update's figures."""
        figures = {"loss": event.loss, "learning_rate": event.learning_rate, "gradient_norm": event.gradient_norm}
        speed = {"useful_tokens_per_second": event.useful_tokens_per_second}
        self.backend.log(figures | speed, step=event.step)

    def evaluated(self, event: Evaluated) -> None:
        """Send an evaluation's figures."""
        self.backend.log({f"validation/{name}": value for name, value in event.metrics.items()}, step=event.step)

    def stop_requested(self) -> bool:
        """Never."""
        return False


class Watchers:
    """Several watchers as one."""

    def __init__(self, watchers: Sequence[Watcher]):
        self.watchers = watchers

    def begin(self, steps: int, done: int) -> None:
        """Tell each."""
        for watcher in self.watchers:
            watcher.begin(steps, done)

    def stepped(self, event: Stepped) -> None:
        """Tell each."""
        for watcher in self.watchers:
            watcher.stepped(event)

    def evaluated(self, event: Evaluated) -> None:
        """Tell each."""
        for watcher in self.watchers:
            watcher.evaluated(event)

    def stop_requested(self) -> bool:
        """Whether one of them asks."""
        return any(watcher.stop_requested() for watcher in self.watchers)


def _flat(settings: TuneSettings) -> dict[str, Any]:
    """Settings as the plain values that every tracker accepts."""
    return {
        n: v if isinstance(v, int | float | str | bool) else str(v) for n, v in settings.model_dump(mode="json").items()
    }
