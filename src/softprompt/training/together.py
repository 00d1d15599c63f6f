"""Many prompts trained in one run on one frozen model, each as if it trained alone (law 8).

Every prompt has its own loss, clipping, schedule, evaluations and end; one that has ended frees its rows. They share
the passes through the model: a device that a few rows leave idle is filled with the rows of many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from softprompt.errors import SoftPromptError
from softprompt.prompts import SoftPrompt
from softprompt.training.gradients import Part, accumulate_gradients
from softprompt.training.loop import Training
from softprompt.training.passes import Limit

#: Rows that keep a device busy. Two cores are busy with a prompt's own; rows of others would only be padded more.
ROWS_ON_CPU, ROWS_ON_ACCELERATOR = 16, 512


Ended = Callable[[str, SoftPromptError | None], None]
"""Is told that the run of a name is over, and of what went wrong with it, if something did."""


def train_together(trainings: Mapping[str, tuple[Training, SoftPrompt]], ended: Ended) -> None:
    """Train all of them in place, each to its own end."""
    active = dict(trainings)
    limit = Limit(min((_rows_at_once(training) for training, _ in active.values()), default=0))
    while active := {name: each for name, each in active.items() if not _is_over(name, each[0], ended)}:
        started = time.perf_counter()
        parts = [Part(p, t.objective, t.chosen(), t.settings.batch_size) for t, p in active.values()]
        found = accumulate_gradients(parts, limit)
        seconds = (time.perf_counter() - started) / sum(learnt.useful_tokens for learnt in found)
        for (name, (training, _)), learnt in zip(list(active.items()), found, strict=True):
            try:
                training.update(learnt, seconds * learnt.useful_tokens)
            except SoftPromptError as error:  # its own log or checkpoint cannot be written
                del active[name]
                ended(name, error)


def _is_over(name: str, training: Training, ended: Ended) -> bool:
    if training.is_over:
        ended(name, None)
    return training.is_over


def _rows_at_once(training: Training) -> int:
    return ROWS_ON_CPU if training.objective.model.device.type == "cpu" else ROWS_ON_ACCELERATOR
