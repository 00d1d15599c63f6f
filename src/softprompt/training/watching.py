"""What a run tells whoever watches it: a progress bar, a tracker, a test. Watching changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Stepped:
    """An update was made.

    Attributes:
        step: how many there are now.
        loss: of its examples, before the update.
        learning_rate: of the update: the schedule's, or less where the step was shortened.
        gradient_norm: before clipping.
        useful_tokens_per_second: of the run so far, evaluations left out.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    useful_tokens_per_second: float


@dataclass(frozen=True)
class Evaluated:
    """The validation examples were measured after `step` updates; `best` says whether it is the best so far."""

    step: int
    metrics: Mapping[str, float]
    best: bool


@runtime_checkable
class Watcher(Protocol):
    """Is told of each event as it happens."""

    def begin(self, steps: int, done: int) -> None:
        """A run of `steps` updates begins, or goes on after `done` of them."""

    def stepped(self, event: Stepped) -> None:
        """An update was made."""

    def evaluated(self, event: Evaluated) -> None:
        """An evaluation was made."""

    def stop_requested(self) -> bool:
        """Whether to stop after this step, with a checkpoint."""


class Unwatched:
    """Watches nothing."""

    def begin(self, steps: int, done: int) -> None:
        """Ignored."""

    def stepped(self, event: Stepped) -> None:
        """Ignored."""

    def evaluated(self, event: Evaluated) -> None:
        """Ignored."""

    def stop_requested(self) -> bool:
        """Never."""
        return False
