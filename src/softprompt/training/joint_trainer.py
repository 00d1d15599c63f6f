"""Joint training of many prompts on one frozen model, each as if it were trained alone (law 8).

Each prompt has its own loss, clipping, schedule, evaluations and end. Prompts share passes through the model: a few
sequences would leave a device idle, and the sequences of many prompts fill it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from softprompt.errors import SoftPromptError
from softprompt.prompts import SoftPrompt
from softprompt.training.gradient_accumulation import PromptBatch, accumulate_gradients
from softprompt.training.micro_batches import MicroBatchLimit
from softprompt.training.trainer import Trainer

#: Number of sequences that keep a device busy. On a CPU one prompt's sequences do, and more would only add padding.
MAX_SEQUENCES_CPU, MAX_SEQUENCES_ACCELERATOR = 16, 512


RunEndCallback = Callable[[str, SoftPromptError | None], None]
"""Function that is called when a run ends, with the run's name and its error if it failed."""


def train_jointly(trainers: Mapping[str, tuple[Trainer, SoftPrompt]], on_run_end: RunEndCallback) -> None:
    """Train runs in place, each to its own end.

    Args:
        trainers: Trainer and prompt of each run by run name.
        on_run_end: Called when a run ends.
    """
    active = dict(trainers)
    limit = MicroBatchLimit(min((_get_max_sequences(trainer) for trainer, _ in active.values()), default=0))
    while active := {name: run for name, run in active.items() if not _report_if_finished(name, run[0], on_run_end)}:
        started = time.perf_counter()
        batches = [PromptBatch(p, t.objective, t.next_batch(), t.settings.batch_size) for t, p in active.values()]
        losses = accumulate_gradients(batches, limit)
        seconds_per_token = (time.perf_counter() - started) / sum(loss.useful_tokens for loss in losses)
        for (name, (trainer, _)), loss in zip(list(active.items()), losses, strict=True):
            try:
                trainer.complete_step(loss, seconds_per_token * loss.useful_tokens)
            except SoftPromptError as error:  # the log or the checkpoint of this run cannot be written
                del active[name]
                on_run_end(name, error)


def _report_if_finished(name: str, trainer: Trainer, on_run_end: RunEndCallback) -> bool:
    if trainer.is_finished:
        on_run_end(name, None)
    return trainer.is_finished


def _get_max_sequences(trainer: Trainer) -> int:
    return MAX_SEQUENCES_CPU if trainer.objective.model.device.type == "cpu" else MAX_SEQUENCES_ACCELERATOR
