"""Many prompts trained in one run on one frozen model, each as if it trained alone (law 8).

Every prompt has its own loss, clipping, schedule, evaluations and end; one that has ended frees its rows. They share
the passes through the model: a device that a few rows leave idle is filled with the rows of many.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from softprompt.prompts import SoftPrompt
from softprompt.training.gradients import Part, accumulate_gradients
from softprompt.training.loop import Training
from softprompt.training.passes import Limit

#: Rows that keep a device busy. Two cores are busy with a prompt's own; rows of others would only be padded more.
ROWS_ON_CPU, ROWS_ON_ACCELERATOR = 16, 512


def train_together(trainings: Sequence[tuple[Training, SoftPrompt]]) -> None:
    """Train all of them in place, each to its own end."""
    limit = Limit(min((_rows_at_once(training) for training, _ in trainings), default=0))
    while active := [(training, prompt) for training, prompt in trainings if not training.is_over]:
        started = time.perf_counter()
        parts = [Part(p, t.objective, t.chosen(), t.settings.batch_size) for t, p in active]
        found = accumulate_gradients(parts, limit)
        seconds = (time.perf_counter() - started) / sum(tokens for _, tokens in found)
        for (training, _), (loss, tokens) in zip(active, found, strict=True):
            training.update(loss, tokens, seconds * tokens)


def _rows_at_once(training: Training) -> int:
    return ROWS_ON_CPU if training.objective.model.device.type == "cpu" else ROWS_ON_ACCELERATOR
