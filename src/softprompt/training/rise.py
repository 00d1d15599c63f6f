"""Notices a learning rate that is too high for the model: a run's first steps are shortened, or raise its loss."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from softprompt.tasks import Row
from softprompt.training.watching import Stepped

logger = logging.getLogger(__name__)

#: A loss has risen when it is this many times the first one, and this much above it in nats.
FACTOR, NATS = 1.5, 0.25
#: The steps in which it is looked for: the rate is at its peak by then, and later on other things go wrong.
STEPS = 20
#: A rate is too high where a step was shortened to less than this share of it.
LENGTH = 0.05


class LossRise:
    """Compares the first steps' losses with the very first, and their rates with the schedule's; warns once.

    Steps see different rows, and a few rows can be twice as hard as others. So before it warns it measures the rows of
    the first step again.

    Args:
        loss_of: the mean loss of rows as they are answered now.
        name: what the run is called in the warning.
    """

    def __init__(self, loss_of: Callable[[Sequence[Row]], float], name: str):
        self._loss_of, self._name = loss_of, name
        self._first: tuple[float, list[Row]] | None = None
        self._peak = 0.0

    def check(self, event: Stepped, scheduled: float, rows: Callable[[], list[Row]]) -> None:
        """Look at a step.

        A run that goes on from a checkpoint has no first step here, so nothing is compared.

        Args:
            event: the step.
            scheduled: its learning rate, had it not been shortened.
            rows: gives those that it learnt from.
        """
        self._peak = max(self._peak, scheduled)
        if event.step == 1:
            self._first = event.loss, rows()
        if self._first is None or event.step > STEPS:
            return
        if event.learning_rate < LENGTH * scheduled:
            self._warn_of_length(event, scheduled)
        elif _has_risen(self._first[0], event.loss):
            self._confirm(event, *self._first)

    def _warn_of_length(self, event: Stepped, scheduled: float) -> None:
        self._first = None
        logger.warning(
            "%s: the learning rate is too high for this model: step %d would have made it %.2g, and was shortened to "
            "%.2g, as far as its gradients hold. Try `learning_rate=%.2g`",
            self._name,
            event.step,
            scheduled,
            event.learning_rate,
            max(event.learning_rate, self._peak / 10),
        )

    def _confirm(self, event: Stepped, before: float, rows: list[Row]) -> None:
        now = self._loss_of(rows)
        if not _has_risen(before, now):
            return
        self._first = None
        logger.warning(
            "%s: by step %d the loss of the first %d rows rose from %.3f to %.3f: the learning rate, up to %.2g, is "
            "too high for this model. Try `learning_rate=%.2g`",
            self._name,
            event.step,
            len(rows),
            before,
            now,
            self._peak,
            self._peak / 4,
        )


def _has_risen(before: float, now: float) -> bool:
    return now > max(FACTOR * before, before + NATS)
