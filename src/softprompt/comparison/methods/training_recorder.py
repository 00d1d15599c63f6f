"""Runs a training and records its evaluations and its best step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from softprompt.comparison.methods.fitted_model import TrainingRecord
from softprompt.errors import TrainingDiverged
from softprompt.training import EvalEvent, StepEvent, TrainerCallback
from softprompt.training.checkpoint import BestCheckpoint, TrainerState
from softprompt.training.trainer import TrainOutcome


class EvaluationRecorder:
    """A callback that records evaluations and forwards all events to another callback."""

    def __init__(self, callback: TrainerCallback):
        self.callback = callback
        self.evaluations: list[Mapping[str, Any]] = []

    def on_begin(self, steps: int, done: int) -> None:
        """Forward the event."""
        self.callback.on_begin(steps, done)

    def on_step(self, event: StepEvent) -> None:
        """Forward the event."""
        self.callback.on_step(event)

    def on_evaluate(self, event: EvalEvent) -> None:
        """Record the evaluation and forward it."""
        self.evaluations.append({"step": event.step, **event.metrics})
        self.callback.on_evaluate(event)

    def should_stop(self) -> bool:
        """Return the answer of the other callback."""
        return self.callback.should_stop()

    def build_record(self, state: TrainerState, best: Mapping[str, Any]) -> TrainingRecord:
        """Return the record of a training that has ended.

        Args:
            state: state of the training at its end.
            best: metrics of the step that is kept, and its number as `step`.
        """
        speed = state.useful_tokens / state.train_seconds if state.train_seconds else 0.0
        return TrainingRecord(state.train_seconds, speed, self.evaluations, best)


def train_and_record(
    train: Callable[[TrainerCallback], TrainOutcome], callback: TrainerCallback, peak_learning_rate: float
) -> tuple[TrainingRecord, Mapping[str, Tensor]]:
    """Train, and return the record and the parameters of the best step.

    Raises:
        TrainingDiverged: the loss was not finite before the first evaluation.
    """
    recorder = EvaluationRecorder(callback)
    state = train(recorder).state
    best = require_best(state, peak_learning_rate)
    return recorder.build_record(state, {"step": best.step, **best.metrics}), best.parameters


def require_best(state: TrainerState, peak_learning_rate: float) -> BestCheckpoint:
    """Return the best step of a training that has ended.

    Raises:
        TrainingDiverged: the loss was not finite before the first evaluation.
    """
    if state.best is None:
        raise TrainingDiverged(f"the loss or its gradient was not finite at learning rate {peak_learning_rate:.2g}")
    return state.best
