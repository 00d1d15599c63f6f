"""Forward and backward passes over micro-batches of several prompts, as many in one pass as fit the device."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softprompt.errors import is_out_of_memory_error
from softprompt.model import KVPrefix, Payload
from softprompt.tasks import Batch, Objective
from softprompt.tasks.collation import gather_output_states
from softprompt.tasks.joint_batch import join_batches
from softprompt.tasks.length_buckets import fits_one_pass

logger = logging.getLogger(__name__)


@dataclass
class MicroBatchLimit:
    """Limit of sequences in a pass over several micro-batches; it shrinks when memory runs out.

    A single micro-batch is never split: its size is the user's `batch_size`.

    Attributes:
        max_sequences: Maximum number of sequences in one pass.
    """

    max_sequences: int = 0


@dataclass(frozen=True)
class MicroBatch:
    """Examples of one prompt that go through the model together.

    Attributes:
        objective: Objective of the examples.
        batch: Collated examples.
        payloads: Payload in front of each sequence of the batch; its tensor accumulates the gradient.
        head_parameters: Parameters of a head, which the loss depends on directly.
        weight: Divisor of the summed loss.
    """

    objective: Objective
    batch: Batch
    payloads: Sequence[Payload]
    head_parameters: Sequence[nn.Parameter]
    weight: float

    @property
    def first_layer(self) -> int:
        """Index of the lowest layer with virtual tokens."""
        return min(payload.first_layer if isinstance(payload, KVPrefix) else 0 for payload in self.payloads)

    @property
    def leaf_tensors(self) -> list[Tensor]:
        """Tensors that accumulate the gradient."""
        return [*{id(payload): payload.tensor for payload in self.payloads}.values(), *self.head_parameters]


def run_micro_batches(
    micro_batches: Sequence[MicroBatch], limit: MicroBatchLimit
) -> Iterator[tuple[MicroBatch, float]]:
    """Run micro-batches in any order, and add their gradients to `leaf_tensors`. Yields each one with its loss.

    Micro-batches share a pass if their lengths are similar and their first virtual tokens are in the same layer.
    """
    pending = sorted(micro_batches, key=lambda micro: (micro.first_layer, micro.batch.input_ids.shape[1]))
    while pending:
        group = _take_fitting(pending, limit.max_sequences)
        try:
            losses = _forward_backward(group)
        except RuntimeError as error:
            if len(group) == 1 or not is_out_of_memory_error(error):
                raise
            limit.max_sequences = sum(len(micro.batch.input_ids) for micro in group) // 2
            logger.warning(
                "out of memory with micro-batches of %d prompts in a pass: continuing with fewer", len(group)
            )
        else:
            pending = pending[len(group) :]
            yield from zip(group, losses, strict=True)


def _take_fitting(pending: Sequence[MicroBatch], max_sequences: int) -> list[MicroBatch]:
    """Take the first micro-batches that may share a pass, at least one. `pending` is in the order of the texts' length.

    All are padded to the longest text, if that costs less than a separate pass, and to the longest prompt. Prompt and
    text together must still fit the context window.
    """
    model, first_layer = pending[0].objective.model, pending[0].first_layer
    shape, group = _PassShape(), list[MicroBatch]()
    for micro in pending:
        joined = shape.join(micro)
        padding = shape.num_sequences * (joined.text_length - shape.text_length)
        may_join = (
            micro.first_layer == first_layer
            and joined.num_sequences <= max_sequences
            and joined.num_positions <= model.shape.window
            and fits_one_pass(model.forward_budget, joined.num_sequences, joined.text_length, padding)
        )
        if group and not may_join:
            break
        shape = joined
        group.append(micro)
    return group


@dataclass(frozen=True)
class _PassShape:
    """Size of a pass over several micro-batches.

    Attributes:
        num_sequences: Number of sequences, B.
        prompt_length: Number of positions of the longest prompt.
        text_length: Number of tokens of the longest text, T.
        branch_length: Number of tokens of the longest label paths after a text.
    """

    num_sequences: int = 0
    prompt_length: int = 0
    text_length: int = 0
    branch_length: int = 0

    @property
    def num_positions(self) -> int:
        """Number of positions of the longest sequence."""
        return self.prompt_length + self.text_length + self.branch_length

    def join(self, micro: MicroBatch) -> _PassShape:
        """Return the size of the pass with another micro-batch."""
        batch_size, length = micro.batch.input_ids.shape
        branches = micro.batch.branches
        return _PassShape(
            self.num_sequences + batch_size,
            max(self.prompt_length, *(payload.num_positions for payload in micro.payloads)),
            max(self.text_length, length),
            max(self.branch_length, 0 if branches is None else branches.input_ids.shape[1]),
        )


def _forward_backward(micro_batches: Sequence[MicroBatch]) -> list[float]:
    batches = [micro.batch for micro in micro_batches]
    payloads = [payload for micro in micro_batches for payload in micro.payloads]
    is_shared = len({id(payload) for payload in payloads}) == 1  # one payload in front of all sequences
    states = gather_output_states(
        micro_batches[0].objective.model, join_batches(batches), payloads[0] if is_shared else payloads
    )
    split_states = states.split([len(batch.output_indices) for batch in batches])
    losses = [
        micro.objective.compute_losses(micro_states, micro.batch).sum() / micro.weight
        for micro, micro_states in zip(micro_batches, split_states, strict=True)
    ]
    leaves = list({id(tensor): tensor for micro in micro_batches for tensor in micro.leaf_tensors}.values())
    gradients = torch.autograd.grad(torch.stack(losses).sum(), leaves)  # all of them, or none if memory runs out
    for tensor, gradient in zip(leaves, gradients, strict=True):
        tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient
    return [loss.item() for loss in losses]
