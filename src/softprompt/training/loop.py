"""The training loop. It reads top to bottom, and knows neither task nor method by name."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softprompt.evaluation.measuring import measure
from softprompt.model import FrozenModel, Payload, Payloads
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
    compiled payload, and one backward pass takes the sum on to the parameters. A loss of the prompt's own adds to the
    gradient alone, so that the losses of all methods compare.
    """
    payloads = _compiled(objective.model, prompt, rows)
    leaves = {task: payload.with_tensor(payload.tensor.detach().requires_grad_()) for task, payload in payloads.items()}
    parts = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    batches = [objective.collate(part, _behind(part, leaves)) for part in parts]
    weight = sum(float(batch.weights.sum()) for batch in batches)
    total = 0.0
    for part, batch in zip(parts, batches, strict=True):
        losses = objective.losses(objective.read(batch, _behind(part, leaves)), batch)
        loss = losses.sum() / weight
        loss.backward()
        total += loss.item()
    compiled = [payload.tensor for payload in payloads.values()]
    torch.autograd.backward(compiled, [leaf.tensor.grad for leaf in leaves.values()])
    if (own := prompt.own_loss(objective.model)) is not None:
        own.backward()
    return total, sum(batch.useful_tokens for batch in batches)


def _compiled(model: FrozenModel, prompt: SoftPrompt, rows: Sequence[Row]) -> dict[int, Payload]:
    """The payload of each task that the rows are of."""
    return {task: model.compile(prompt.of(task)) for task in sorted({row.task for row in rows})}


def _behind(rows: Sequence[Row], payloads: Mapping[int, Payload]) -> Payloads:
    """The payload of each row's task; one for all of them where there is one task."""
    if len(payloads) == 1:
        return next(iter(payloads.values()))
    return [payloads[row.task] for row in rows]


def _evaluate(objective: Objective, prompt: SoftPrompt, validation: Sequence[Row], progress: Progress) -> Evaluated:
    with torch.no_grad():
        payloads = _behind(validation, _compiled(objective.model, prompt, validation))
        metrics = measure(objective, payloads, validation)
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
