"""The training loop. It reads top to bottom, and knows neither task nor method by name."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softprompt.evaluation.measuring import measure
from softprompt.prompts import SoftPrompt
from softprompt.tasks import Objective, Row
from softprompt.training.checkpoint import Best, Progress, read_checkpoint, write_checkpoint
from softprompt.training.optimisation import Optimiser
from softprompt.training.order import Order
from softprompt.training.rows import EncodedRows
from softprompt.training.run_folder import RunFolder
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
    prompt: SoftPrompt,
    rows: EncodedRows,
    validation: Sequence[Row],
    settings: TuneSettings,
    optimiser: Optimiser,
    folder: RunFolder,
    watcher: Watcher,
) -> Outcome:
    """Train `prompt` in place, from the checkpoint in `folder` or the beginning, to the last step or an early stop."""
    order = Order(rows.lengths, settings.batch_size * settings.accumulate, settings.seed)
    progress = _resume(prompt, optimiser, folder)
    watcher.begin(settings.steps, progress.step)

    while progress.step < settings.steps and not _is_stale(progress, settings):
        started = time.perf_counter()
        chosen = [rows[i] for i in order.step(progress.step)]
        loss, tokens = accumulate_gradients(objective, prompt, chosen, settings.batch_size)
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
        folder.log_step(stepped)
        watcher.stepped(stepped)
        if validation and _is_due(progress.step, settings.evaluation_interval, settings.steps):
            evaluated = _evaluate(objective, prompt, validation, progress)
            folder.log_evaluation(evaluated)
            watcher.evaluated(evaluated)
            if progress.best is None:
                return Outcome(progress, diverged=True)
        stop = watcher.stop_requested()
        if stop or _is_due(progress.step, settings.checkpoint_interval, settings.steps):
            write_checkpoint(folder.checkpoint, progress, prompt.state_dict(), optimiser.state())
        if stop and progress.step < settings.steps:
            return Outcome(progress, stopped=True)
    return Outcome(progress)


def accumulate_gradients(
    objective: Objective, prompt: SoftPrompt, rows: Sequence[Row], batch_size: int
) -> tuple[float, int]:
    """Add the gradient of the rows' mean loss to the prompt's parameters; returns that loss and the useful tokens.

    What stands in front of every row is run once, not once a row or a pass: the passes sum their gradients at the
    compiled payload, and one backward pass takes the sum on to the parameters.
    """
    payload = objective.model.compile(prompt())
    leaf = payload.tensor.detach().requires_grad_()
    batches = [
        objective.collate(rows[i : i + batch_size], payload.with_tensor(leaf)) for i in range(0, len(rows), batch_size)
    ]
    weight = sum(float(batch.weights.sum()) for batch in batches)
    total = 0.0
    for batch in batches:
        losses = objective.losses(objective.read(batch, payload.with_tensor(leaf)), batch)
        loss = losses.sum() / weight
        loss.backward()
        total += loss.item()
    payload.tensor.backward(leaf.grad)
    return total, sum(batch.useful_tokens for batch in batches)


def _evaluate(objective: Objective, prompt: SoftPrompt, validation: Sequence[Row], progress: Progress) -> Evaluated:
    with torch.no_grad():
        metrics = measure(objective, objective.model.compile(prompt()), validation)
    best, quality = progress.best, objective.quality(metrics)
    better = all(map(math.isfinite, quality)) and (best is None or quality > objective.quality(best.metrics))
    progress.stale = 0 if better else progress.stale + 1
    if better:
        progress.best = Best(progress.step, metrics, _copied(prompt.state_dict()))
    return Evaluated(progress.step, metrics, better)


def _resume(prompt: SoftPrompt, optimiser: Optimiser, folder: RunFolder) -> Progress:
    if not folder.checkpoint.is_file():
        folder.forget_after(0)
        return Progress()
    progress, parameters, moments = read_checkpoint(folder.checkpoint)
    prompt.load_state_dict(parameters)
    optimiser.restore(moments)
    folder.forget_after(progress.step)
    return progress


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in tensors.items()}


def _is_stale(progress: Progress, settings: TuneSettings) -> bool:
    return settings.patience is not None and progress.stale >= settings.patience


def _is_due(step: int, interval: int, last: int) -> bool:
    return step % interval == 0 or step == last
