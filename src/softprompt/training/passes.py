"""Forward and backward passes over rows of several prompts: as many together as the device has room for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softprompt.errors import is_out_of_memory
from softprompt.model import Payload, Prefix
from softprompt.tasks import Batch, Objective
from softprompt.tasks.joint_batch import join_batches
from softprompt.tasks.objective import states_of

logger = logging.getLogger(__name__)


@dataclass
class Limit:
    """The most rows that rows of several prompts may be in one pass; it shrinks where memory does not suffice.

    The rows of a chunk are not parted: whoever trains one prompt has said how many those may be.
    """

    rows: int = 0


@dataclass(frozen=True)
class Chunk:
    """Rows of one prompt that go through the model together.

    Attributes:
        objective: their task.
        batch: the rows.
        behind: what each of its sequences stands behind; these tensors gather the gradient.
        beside: parameters that the loss depends on directly: a head's.
        weight: what the summed loss is divided by.
    """

    objective: Objective
    batch: Batch
    behind: Sequence[Payload]
    beside: Sequence[nn.Parameter]
    weight: float

    @property
    def first_layer(self) -> int:
        """The lowest layer that sees a virtual token."""
        return min(payload.first_layer if isinstance(payload, Prefix) else 0 for payload in self.behind)

    @property
    def gathering(self) -> list[Tensor]:
        """What gathers gradient."""
        return [*{id(payload): payload.tensor for payload in self.behind}.values(), *self.beside]


def passed(chunks: Sequence[Chunk], limit: Limit) -> Iterator[tuple[Chunk, float]]:
    """Run all chunks, in whatever order suits, and add each one's gradient to what gathers it; yields its loss.

    Rows go together that are of like lengths, and see their first virtual token in the same layer.
    """
    waiting = sorted(chunks, key=lambda chunk: (chunk.first_layer, chunk.batch.ids.shape[1]))
    while waiting:
        some = _first(waiting, limit.rows)
        try:
            losses = _pass(some)
        except RuntimeError as error:
            if len(some) == 1 or not is_out_of_memory(error):
                raise
            limit.rows = sum(len(chunk.batch.ids) for chunk in some) // 2
            logger.warning("out of memory with the rows of %d prompts in a pass: going on with fewer", len(some))
        else:
            waiting = waiting[len(some) :]
            yield from zip(some, losses, strict=True)


def _first(waiting: Sequence[Chunk], most: int) -> list[Chunk]:
    """As many chunks as may go together: one at least.

    All are padded to the longest text, where that costs less than a pass of one's own, and to the longest prompt; both
    must still fit the window between them.
    """
    model = waiting[0].objective.model
    count, rows, positions, T, behind = 0, 0, 0, 0, 0
    for chunk in waiting:
        padding = rows * (chunk.batch.ids.shape[1] - T)
        rows, T = rows + len(chunk.batch.ids), chunk.batch.ids.shape[1]  # those that wait are in the order of their T
        positions = max(positions, *(payload.num_positions for payload in chunk.behind))
        branches = chunk.batch.branches
        behind = max(behind, 0 if branches is None else branches.ids.shape[1])
        fits = rows <= most and rows * T <= model.pass_tokens and positions + T + behind <= model.shape.window
        if count and not (fits and padding <= model.pass_cost and chunk.first_layer == waiting[0].first_layer):
            break
        count += 1
    return list(waiting[:count])


def _pass(chunks: Sequence[Chunk]) -> list[float]:
    batches = [chunk.batch for chunk in chunks]
    behind = [payload for chunk in chunks for payload in chunk.behind]
    is_one = len({id(payload) for payload in behind}) == 1  # and stands once in front of all
    states = states_of(chunks[0].objective.model, join_batches(batches), behind[0] if is_one else behind)
    each = states.split([len(batch.reads) for batch in batches])
    losses = [c.objective.losses(own, c.batch).sum() / c.weight for c, own in zip(chunks, each, strict=True)]
    gathering = list({id(tensor): tensor for chunk in chunks for tensor in chunk.gathering}.values())
    gradients = torch.autograd.grad(torch.stack(losses).sum(), gathering)  # all, or if memory does not suffice none
    for tensor, gradient in zip(gathering, gradients, strict=True):
        tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient
    return [loss.item() for loss in losses]
