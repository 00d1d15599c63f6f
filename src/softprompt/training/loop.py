"""The training loop. It reads top to bottom, and knows neither task nor method by name, nor what it is that learns."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from softprompt.errors import CheckpointError
from softprompt.tasks import Objective, Row
from softprompt.training.checkpoint import Best, Progress
from softprompt.training.learner import Learner, Learnt
from softprompt.training.optimisation import Optimiser
from softprompt.training.order import Order
from softprompt.training.record import Record
from softprompt.training.rise import LossRise
from softprompt.training.rows import EncodedRows
from softprompt.training.settings import TuneSettings
from softprompt.training.watching import Evaluated, Stepped, Watcher


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        progress: how far it came; `progress.best` is what to keep, where there was an evaluation.
        diverged: the loss or its gradient was not a number in the step after `progress.step`.
        stopped: it was asked to stop before its end.
    """

    progress: Progress
    diverged: bool = False
    stopped: bool = False


class Training:
    """One run. It trains in place, from the record's checkpoint or the beginning, to the last step or an early stop.

    `run` does it all. Whoever trains several together takes the `chosen` rows, adds their gradient, and says `update`.

    Attributes:
        progress: how far it is.
        outcome: how it ended, or how it stands.
        is_over: it has ended.
    """

    def __init__(
        self,
        objective: Objective,
        learner: Learner,
        rows: EncodedRows,
        validation: Sequence[Row],
        settings: TuneSettings,
        optimiser: Optimiser,
        record: Record,
        watcher: Watcher,
    ):
        self.objective, self.learner, self.settings = objective, learner, settings
        self._rows, self._validation = rows, validation
        self._optimiser, self._record, self._watcher = optimiser, record, watcher
        self._order = Order(rows.lengths, settings.batch_size * settings.accumulate, settings.seed)
        self.progress = record.resume(learner, optimiser)
        self.outcome = Outcome(self.progress)
        self.is_over = self._has_ended()
        self._rise = LossRise(self._loss_of, str(settings.output))
        watcher.begin(settings.steps, self.progress.step)

    def run(self) -> Outcome:
        """Train to the end."""
        while not self.is_over:
            started = time.perf_counter()
            learnt = self.learner.accumulate(self.objective, self.chosen(), self.settings.batch_size)
            self.update(learnt, time.perf_counter() - started)
        return self.outcome

    def evaluate_start(self) -> None:
        """Measure the validation examples before the first step, to know later whether training improved on it.

        Of a run that goes on, the best prompt so far is measured once more, since whoever can write a checkpoint can
        write figures into it.

        Raises:
            CheckpointError: what the checkpoint has as the best measures nothing finite.
        """
        progress = self.progress
        if progress.step > 0:
            progress.best = self._measured_again(progress.best) if self._validation else None
        elif self._validation:
            progress.start = _measured(self.objective, self.learner, self._validation)
            self._tell(Evaluated(0, progress.start, best=False))

    def _measured_again(self, best: Best | None) -> Best | None:
        if best is None:
            return None
        now = _copied(self.learner.state_dict())
        self.learner.load_state_dict(best.parameters)
        found = _measured_best(self.objective, self.learner, self._validation, best.step)
        self.learner.load_state_dict(now)
        if not all(map(math.isfinite, self.objective.quality(found.metrics))):
            raise CheckpointError(
                f"the best prompt in the checkpoint of {self.settings.output} measures no finite figures: start over "
                "with `overwrite=True`"
            )
        return found

    def chosen(self) -> list[Row]:
        """The rows of the next step."""
        return self._rows_of(self.progress.step)

    def _rows_of(self, step: int) -> list[Row]:
        return [self._rows[i] for i in self._order.step(step)]

    def _loss_of(self, rows: Sequence[Row]) -> float:
        return _measured(self.objective, self.learner, rows)["loss"]

    def update(self, learnt: Learnt, seconds: float) -> None:
        """Make the next step: the gradient of its rows was added to the learner's parameters, in so many seconds."""
        started, progress = time.perf_counter(), self.progress
        made = self._optimiser.update(progress.step, learnt.total_loss) if math.isfinite(learnt.loss) else None
        if made is None or not math.isfinite(made.gradient_norm):
            self._end(diverged=True)
            return
        progress.step += 1
        progress.useful_tokens += learnt.useful_tokens
        progress.seconds += seconds + time.perf_counter() - started
        speed = progress.useful_tokens / progress.seconds
        stepped = Stepped(progress.step, learnt.loss, made.learning_rate, made.gradient_norm, speed)
        self._record.log_step(stepped)
        self._watcher.stepped(stepped)
        self._rise.check(stepped, self._optimiser.rate(progress.step - 1), lambda: self._rows_of(progress.step - 1))
        if self._validation and _is_due(progress.step, self.settings.evaluation_interval, self.settings.steps):
            self._evaluate()
        if not self.is_over:
            self._keep()

    def _evaluate(self) -> None:
        evaluated = _evaluate(self.objective, self.learner, self._validation, self.progress)
        self._tell(evaluated)
        if self.progress.best is None:
            self._end(diverged=True)

    def _tell(self, evaluated: Evaluated) -> None:
        self._record.log_evaluation(evaluated)
        self._watcher.evaluated(evaluated)

    def _keep(self) -> None:
        """Write a checkpoint where one is due, and see whether it goes on."""
        stop, step = self._watcher.stop_requested(), self.progress.step
        if stop or _is_due(step, self.settings.checkpoint_interval, self.settings.steps):
            self._record.keep(self.progress, self.learner, self._optimiser)
        if stop and step < self.settings.steps:
            self._end(stopped=True)
        self.is_over = self.is_over or self._has_ended()

    def _has_ended(self) -> bool:
        return self.progress.step >= self.settings.steps or _is_stale(self.progress, self.settings)

    def _end(self, *, diverged: bool = False, stopped: bool = False) -> None:
        self.outcome, self.is_over = Outcome(self.progress, diverged, stopped), True


def _evaluate(objective: Objective, learner: Learner, validation: Sequence[Row], progress: Progress) -> Evaluated:
    outputs = learner.outputs(objective, validation)
    metrics = objective.metrics(outputs, validation)
    best, quality = progress.best, objective.quality(metrics)
    better = all(map(math.isfinite, quality)) and (best is None or quality > objective.quality(best.metrics))
    progress.stale = 0 if better else progress.stale + 1
    if better:
        progress.best = Best(
            progress.step, metrics, _copied(learner.state_dict()), objective.never_answered(outputs, validation)
        )
    return Evaluated(progress.step, metrics, better)


def _measured_best(objective: Objective, learner: Learner, validation: Sequence[Row], step: int) -> Best:
    """What the learner measures as it is, as the best evaluation of a step."""
    outputs = learner.outputs(objective, validation)
    metrics = objective.metrics(outputs, validation)
    return Best(step, metrics, _copied(learner.state_dict()), objective.never_answered(outputs, validation))


def _measured(objective: Objective, learner: Learner, rows: Sequence[Row]) -> dict[str, float]:
    return objective.metrics(learner.outputs(objective, rows), rows)


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in tensors.items()}


def _is_stale(progress: Progress, settings: TuneSettings) -> bool:
    return settings.patience is not None and progress.stale >= settings.patience


def _is_due(step: int, interval: int, last: int) -> bool:
    return step % interval == 0 or step == last
