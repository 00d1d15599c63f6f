"""Detection of a learning rate that is too high for the model: the first steps are shortened, or raise the loss."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from softprompt.tasks import EncodedExample
from softprompt.training.callbacks import StepEvent

logger = logging.getLogger(__name__)

#: The loss has risen if it is this many times the first loss, and this much above it in nats.
LOSS_RISE_FACTOR, LOSS_RISE_NATS = 1.5, 0.25
#: Number of steps that are checked: the rate has reached its peak by then, and a later rise has other reasons.
MAX_CHECKED_STEPS = 20
#: The rate is too high if a step was shortened to less than this share of it.
MIN_STEP_SCALE = 0.05


class HighLearningRateDetector:
    """Detector that compares the first steps' losses with the first loss, and their rates with the schedule.

    It warns once. Steps have different examples, and some examples can be twice as hard as others. So the first step's
    examples are evaluated again before a warning.

    Args:
        compute_loss: Function that returns the mean loss of examples under the current parameters.
        run_name: Name of the run in the warning.
    """

    def __init__(self, compute_loss: Callable[[Sequence[EncodedExample]], float], run_name: str):
        self._compute_loss, self._run_name = compute_loss, run_name
        self._first_step: tuple[float, list[EncodedExample]] | None = None
        self._peak_learning_rate = 0.0

    def check_step(
        self, event: StepEvent, scheduled_learning_rate: float, get_batch: Callable[[], list[EncodedExample]]
    ) -> None:
        """Check a step. A resumed run did not see its first step, so its losses are not compared.

        Args:
            event: Event of the step.
            scheduled_learning_rate: Learning rate of the step, had it not been shortened.
            get_batch: Function that returns the examples of the step.
        """
        self._peak_learning_rate = max(self._peak_learning_rate, scheduled_learning_rate)
        if event.step == 1:
            self._first_step = event.loss, get_batch()
        if self._first_step is None or event.step > MAX_CHECKED_STEPS:
            return
        if event.learning_rate < MIN_STEP_SCALE * scheduled_learning_rate:
            self._warn_shortened_step(event, scheduled_learning_rate)
        elif _has_risen(self._first_step[0], event.loss):
            self._confirm_loss_rise(event, *self._first_step)

    def _warn_shortened_step(self, event: StepEvent, scheduled_learning_rate: float) -> None:
        self._first_step = None
        logger.warning(
            "%s: the learning rate is too high for this model: step %d was shortened from a rate of %.2g to %.2g, "
            "as far as its gradients hold. Try `learning_rate=%.2g`",
            self._run_name,
            event.step,
            scheduled_learning_rate,
            event.learning_rate,
            max(event.learning_rate, self._peak_learning_rate / 10),
        )

    def _confirm_loss_rise(self, event: StepEvent, first_loss: float, first_batch: list[EncodedExample]) -> None:
        current_loss = self._compute_loss(first_batch)
        if not _has_risen(first_loss, current_loss):
            return
        self._first_step = None
        logger.warning(
            "%s: by step %d the loss of the first %d examples rose from %.3f to %.3f: the learning rate, up to %.2g, "
            "is too high for this model. Try `learning_rate=%.2g`",
            self._run_name,
            event.step,
            len(first_batch),
            first_loss,
            current_loss,
            self._peak_learning_rate,
            self._peak_learning_rate / 4,
        )


def _has_risen(first_loss: float, current_loss: float) -> bool:
    return current_loss > max(LOSS_RISE_FACTOR * first_loss, first_loss + LOSS_RISE_NATS)
