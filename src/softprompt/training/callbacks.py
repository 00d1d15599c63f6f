"""Callbacks: events of a run for progress bars, trackers and tests. A callback does not change the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class StepEvent:
    """Event after an optimizer step. Its fields are the keys of metrics.jsonl.

    Attributes:
        step: Number of steps so far.
        loss: Mean loss of the step's examples, before the update.
        learning_rate: Learning rate of the step: the scheduled one, or less if the step was shortened.
        gradient_norm: Norm of the gradient before clipping.
        useful_tokens_per_second: Throughput of the run so far without evaluations, in tokens that are neither padding
            nor virtual.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    useful_tokens_per_second: float


@dataclass(frozen=True)
class EvalEvent:
    """Event after an evaluation on the validation examples.

    Attributes:
        step: Number of steps before the evaluation.
        metrics: Metric values by name; the first one is the headline metric.
        is_best: Whether this is the best evaluation so far.
    """

    step: int
    metrics: Mapping[str, float]
    is_best: bool


@runtime_checkable
class TrainerCallback(Protocol):
    """Interface of callbacks, which are called at each event of a run."""

    def on_begin(self, steps: int, done: int) -> None:
        """Handle the beginning of a run of `steps` steps, or its continuation after `done` of them."""

    def on_step(self, event: StepEvent) -> None:
        """Handle an optimizer step."""

    def on_evaluate(self, event: EvalEvent) -> None:
        """Handle an evaluation."""

    def should_stop(self) -> bool:
        """Return whether the run should stop after this step, with a checkpoint."""


class NullCallback:
    """Callback that does nothing."""

    def on_begin(self, steps: int, done: int) -> None:
        """Do nothing."""

    def on_step(self, event: StepEvent) -> None:
        """Do nothing."""

    def on_evaluate(self, event: EvalEvent) -> None:
        """Do nothing."""

    def should_stop(self) -> bool:
        """Return False."""
        return False


class CallbackList:
    """Callback that calls several callbacks."""

    def __init__(self, callbacks: Sequence[TrainerCallback]):
        self.callbacks = callbacks

    def on_begin(self, steps: int, done: int) -> None:
        """Call each callback."""
        for callback in self.callbacks:
            callback.on_begin(steps, done)

    def on_step(self, event: StepEvent) -> None:
        """Call each callback."""
        for callback in self.callbacks:
            callback.on_step(event)

    def on_evaluate(self, event: EvalEvent) -> None:
        """Call each callback."""
        for callback in self.callbacks:
            callback.on_evaluate(event)

    def should_stop(self) -> bool:
        """Return whether a callback wants the run to stop."""
        return any(callback.should_stop() for callback in self.callbacks)
