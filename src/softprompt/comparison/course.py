"""A training, watched: how it went, and what was best in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from softprompt.comparison.way import Course
from softprompt.errors import TrainingDiverged
from softprompt.training import Evaluated, Stepped, Watcher
from softprompt.training.loop import Outcome


class Listener:
    """Passes on what a run tells, and remembers its evaluations."""

    def __init__(self, watcher: Watcher):
        self.watcher = watcher
        self.evaluations: list[Mapping[str, Any]] = []

    def begin(self, steps: int, done: int) -> None:
        """Passed on."""
        self.watcher.begin(steps, done)

    def stepped(self, event: Stepped) -> None:
        """Passed on."""
        self.watcher.stepped(event)

    def evaluated(self, event: Evaluated) -> None:
        """Remembered, and passed on."""
        self.evaluations.append({"step": event.step, **event.metrics})
        self.watcher.evaluated(event)

    def stop_requested(self) -> bool:
        """As the other says."""
        return self.watcher.stop_requested()


def followed(train: Callable[[Watcher], Outcome], watcher: Watcher, peak: float) -> tuple[Course, Mapping[str, Tensor]]:
    """Train, and give the course and the parameters of the best step.

    Raises:
        TrainingDiverged: the loss was not a number before anything was worth keeping.
    """
    listener = Listener(watcher)
    progress = train(listener).progress
    if progress.best is None:
        raise TrainingDiverged(f"the loss or its gradient was not a number at learning rate {peak:.2g}")
    speed = progress.useful_tokens / progress.seconds if progress.seconds else 0.0
    best = {"step": progress.best.step, **progress.best.metrics}
    return Course(progress.seconds, speed, listener.evaluations, best), progress.best.parameters
