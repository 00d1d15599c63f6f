"""The training loop. It reads top to bottom, and knows neither task nor method by name, nor what it is that learns."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softprompt.evaluation.measuring import measure
from softprompt.tasks import Objective, Row
from softprompt.training.checkpoint import Best, Progress
from softprompt.training.learner import Learner
from softprompt.training.optimisation import Optimiser
from softprompt.training.order import Order
from softprompt.training.record import Record
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


def train(
    objective: Objective,
    learner: Learner,
    rows: EncodedRows,
    validation: Sequence[Row],
    settings: TuneSettings,
    optimiser: Optimiser,
    record: Record,
    watcher: Watcher,
) -> Outcome:
    """Train in place, from the record's checkpoint or the beginning, to the last step or an early stop."""
    order = Order(rows.lengths, settings.batch_size * settings.accumulate, settings.seed)
    progress = record.resume(learner, optimiser)
    watcher.begin(settings.steps, progress.step)

    while progress.step < settings.steps and not _is_stale(progress, settings):
        started = time.perf_counter()
        chosen = [rows[i] for i in order.step(progress.step)]
        loss, tokens = learner.accumulate(objective, chosen, settings.batch_size)
        if not math.isfinite(loss):
            return Outcome(progress, diverged=True)
        norm = optimiser.update(progress.step)
        if not math.isfinite(norm):
            return Outcome(progress, diverged=True)
        progress.step += 1
        progress.useful_tokens += tokens
        progress.seconds += time.perf_counter() - started

        rate = optimiser.rate(progress.step - 1)
        stepped = Stepped(progress.step, loss, rate, norm, progress.useful_tokens / progress.seconds)
        record.log_step(stepped)
        watcher.stepped(stepped)
        if validation and _is_due(progress.step, settings.evaluation_interval, settings.steps):
            evaluated = _evaluate(objective, learner, validation, progress)
            record.log_evaluation(evaluated)
            watcher.evaluated(evaluated)
            if progress.best is None:
                return Outcome(progress, diverged=True)
        stop = watcher.stop_requested()
        if stop or _is_due(progress.step, settings.checkpoint_interval, settings.steps):
            record.keep(progress, learner, optimiser)
        if stop and progress.step < settings.steps:
            return Outcome(progress, stopped=True)
    return Outcome(progress)


def _evaluate(objective: Objective, learner: Learner, validation: Sequence[Row], progress: Progress) -> Evaluated:
    with torch.no_grad():
        metrics = measure(objective, learner.payloads(objective.model, validation), validation)
    best, quality = progress.best, objective.quality(metrics)
    better = all(map(math.isfinite, quality)) and (best is None or quality > objective.quality(best.metrics))
    progress.stale = 0 if better else progress.stale + 1
    if better:
        progress.best = Best(progress.step, metrics, _copied(learner.state_dict()))
    return Evaluated(progress.step, metrics, better)


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in tensors.items()}


def _is_stale(progress: Progress, settings: TuneSettings) -> bool:
    return settings.patience is not None and progress.stale >= settings.patience


def _is_due(step: int, interval: int, last: int) -> bool:
    return step % interval == 0 or step == last
