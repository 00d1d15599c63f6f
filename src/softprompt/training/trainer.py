"""The training loop, for any task, tuning method and trainable."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from softprompt.errors import CheckpointError
from softprompt.tasks import EncodedExample, Objective
from softprompt.training.batch_sampler import BatchSampler
from softprompt.training.callbacks import EvalEvent, StepEvent, TrainerCallback
from softprompt.training.checkpoint import BestCheckpoint, TrainerState
from softprompt.training.encoded_dataset import TrainDataset
from softprompt.training.learning_rate_detector import HighLearningRateDetector
from softprompt.training.optimizer import ScheduledOptimizer
from softprompt.training.recorder import RunRecorder
from softprompt.training.run_settings import RunSettings
from softprompt.training.trainable import BatchLoss, Trainable


@dataclass(frozen=True)
class TrainOutcome:
    """Outcome of a run.

    Attributes:
        state: State of the run at its end; `state.best` is what to keep, if there was an evaluation.
        diverged: Whether the loss or its gradient was not a number in the step after `state.step`.
        stopped: Whether a callback stopped the run before its end.
    """

    state: TrainerState
    diverged: bool = False
    stopped: bool = False


class Trainer:
    """Trainer of one run, which trains in place from the last checkpoint or the beginning.

    `train` runs all steps. To train several runs jointly, take the examples of `next_batch`, accumulate their
    gradients, and call `complete_step`.

    Attributes:
        state: State of the run.
        outcome: Outcome of the run, if `is_finished`.
        is_finished: Whether the run has ended.
    """

    def __init__(
        self,
        objective: Objective,
        trainable: Trainable,
        train_dataset: TrainDataset,
        validation_dataset: Sequence[EncodedExample],
        settings: RunSettings,
        optimizer: ScheduledOptimizer,
        recorder: RunRecorder,
        callback: TrainerCallback,
    ):
        self.objective, self.trainable, self.settings = objective, trainable, settings
        self._train_dataset, self._validation_dataset = train_dataset, validation_dataset
        self._optimizer, self._recorder, self._callback = optimizer, recorder, callback
        self._batch_sampler = BatchSampler(
            train_dataset.lengths, settings.batch_size * settings.gradient_accumulation_steps, settings.seed
        )
        self.state = recorder.load_checkpoint(trainable, optimizer)
        self.outcome = TrainOutcome(self.state)
        self.is_finished = self._has_finished()
        self._learning_rate_detector = HighLearningRateDetector(self._compute_loss, str(settings.output))
        callback.on_begin(settings.max_steps, self.state.step)

    def train(self) -> TrainOutcome:
        """Train to the end of the run."""
        while not self.is_finished:
            started = time.perf_counter()
            loss = self.trainable.accumulate_gradients(self.objective, self.next_batch(), self.settings.batch_size)
            self.complete_step(loss, time.perf_counter() - started)
        return self.outcome

    def evaluate_before_training(self) -> None:
        """Evaluate before the first step, to know later whether training improved the metrics.

        In a resumed run, the best prompt so far is evaluated again: the metrics in a checkpoint can be forged.

        Raises:
            CheckpointError: If the metrics of the checkpoint's best prompt are not finite.
        """
        state = self.state
        if state.step > 0:
            state.best = self._reevaluate_best(state.best) if self._validation_dataset else None
        elif self._validation_dataset:
            state.initial_metrics = _compute_metrics(self.objective, self.trainable, self._validation_dataset)
            self._report_evaluation(EvalEvent(0, state.initial_metrics, is_best=False))

    def _reevaluate_best(self, best: BestCheckpoint | None) -> BestCheckpoint | None:
        if best is None:
            return None
        current_parameters = _clone_tensors(self.trainable.state_dict())
        self.trainable.load_state_dict(best.parameters)
        reevaluated = _make_best_checkpoint(self.objective, self.trainable, self._validation_dataset, best.step)
        self.trainable.load_state_dict(current_parameters)
        if not all(map(math.isfinite, self.objective.selection_key(reevaluated.metrics))):
            raise CheckpointError(
                f"the best prompt in the checkpoint of {self.settings.output} has metrics that are not finite: start "
                "over with `overwrite=True`"
            )
        return reevaluated

    def next_batch(self) -> list[EncodedExample]:
        """Return the examples of the next step."""
        return self._get_batch(self.state.step)

    def _get_batch(self, step: int) -> list[EncodedExample]:
        return [self._train_dataset[i] for i in self._batch_sampler.get_batch(step)]

    def _compute_loss(self, examples: Sequence[EncodedExample]) -> float:
        return _compute_metrics(self.objective, self.trainable, examples)["loss"]

    def complete_step(self, batch_loss: BatchLoss, seconds: float) -> None:
        """Complete a step whose gradients were accumulated: update, log, evaluate and checkpoint.

        Args:
            batch_loss: Loss of the step's examples.
            seconds: Time that accumulating the gradients took.
        """
        started, state = time.perf_counter(), self.state
        optimizer_step = (
            self._optimizer.apply_gradients(state.step, batch_loss.total_loss)
            if math.isfinite(batch_loss.loss)
            else None
        )
        if optimizer_step is None or not math.isfinite(optimizer_step.gradient_norm):
            self._finish(diverged=True)
            return
        state.step += 1
        state.useful_tokens += batch_loss.useful_tokens
        state.train_seconds += seconds + time.perf_counter() - started
        event = StepEvent(
            state.step,
            batch_loss.loss,
            optimizer_step.learning_rate,
            optimizer_step.gradient_norm,
            state.useful_tokens / state.train_seconds,
        )
        self._recorder.log_step(event)
        self._callback.on_step(event)
        self._learning_rate_detector.check_step(
            event, optimizer_step.scheduled_learning_rate, lambda: self._get_batch(state.step - 1)
        )
        if self._validation_dataset and _is_due(state.step, self.settings.evaluation_interval, self.settings.max_steps):
            self._run_evaluation()
        if not self.is_finished:
            self._checkpoint_if_due()

    def _run_evaluation(self) -> None:
        self._report_evaluation(_evaluate_step(self.objective, self.trainable, self._validation_dataset, self.state))
        if self.state.best is None:
            self._finish(diverged=True)

    def _report_evaluation(self, event: EvalEvent) -> None:
        self._recorder.log_evaluation(event)
        self._callback.on_evaluate(event)

    def _checkpoint_if_due(self) -> None:
        """Write a checkpoint if one is due, and check whether the run ends here."""
        stop, step = self._callback.should_stop(), self.state.step
        if stop or _is_due(step, self.settings.checkpoint_interval, self.settings.max_steps):
            self._recorder.save_checkpoint(self.state, self.trainable, self._optimizer)
        if stop and step < self.settings.max_steps:
            self._finish(stopped=True)
        self.is_finished = self.is_finished or self._has_finished()

    def _has_finished(self) -> bool:
        return self.state.step >= self.settings.max_steps or _is_out_of_patience(self.state, self.settings)

    def _finish(self, *, diverged: bool = False, stopped: bool = False) -> None:
        self.outcome, self.is_finished = TrainOutcome(self.state, diverged, stopped), True


def _evaluate_step(
    objective: Objective, trainable: Trainable, dataset: Sequence[EncodedExample], state: TrainerState
) -> EvalEvent:
    outputs = trainable.compute_outputs(objective, dataset)
    metrics = objective.compute_metrics(outputs, dataset)
    best, key = state.best, objective.selection_key(metrics)
    is_best = all(map(math.isfinite, key)) and (best is None or key > objective.selection_key(best.metrics))
    state.evals_since_best = 0 if is_best else state.evals_since_best + 1
    if is_best:
        state.best = BestCheckpoint(
            state.step,
            metrics,
            _clone_tensors(trainable.state_dict()),
            objective.find_unpredicted_labels(outputs, dataset),
        )
    return EvalEvent(state.step, metrics, is_best)


def _make_best_checkpoint(
    objective: Objective, trainable: Trainable, dataset: Sequence[EncodedExample], step: int
) -> BestCheckpoint:
    """Evaluate the trainable as it is, and return the evaluation as the best one of a step."""
    outputs = trainable.compute_outputs(objective, dataset)
    metrics = objective.compute_metrics(outputs, dataset)
    return BestCheckpoint(
        step, metrics, _clone_tensors(trainable.state_dict()), objective.find_unpredicted_labels(outputs, dataset)
    )


def _compute_metrics(
    objective: Objective, trainable: Trainable, examples: Sequence[EncodedExample]
) -> dict[str, float]:
    return objective.compute_metrics(trainable.compute_outputs(objective, examples), examples)


def _clone_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in tensors.items()}


def _is_out_of_patience(state: TrainerState, settings: RunSettings) -> bool:
    return settings.early_stopping_patience is not None and state.evals_since_best >= settings.early_stopping_patience


def _is_due(step: int, interval: int, last_step: int) -> bool:
    return step % interval == 0 or step == last_step
