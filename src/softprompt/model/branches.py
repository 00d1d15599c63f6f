"""Branches: several continuations of the same sequences, each of which is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

ATTENDED_POSITIONS_PER_TOKEN = 8  # attending to this many costs about as much as computing one token


@dataclass(frozen=True)
class SequenceBranches:
    """A batch of M continuations of l tokens, right-padded.

    Attributes:
        input_ids: token ids `[M, l]`.
        attention_mask: `[M, l]`, False at padding.
        parent_indices: `[M]`, index of the sequence that each branch continues.
    """

    input_ids: Int[Tensor, "M l"]
    attention_mask: Bool[Tensor, "M l"]
    parent_indices: Int[Tensor, "M"]

    def split(self, split_size: int) -> Iterator[SequenceBranches]:
        """Split into chunks of up to `split_size` branches."""
        for chunk in zip(
            self.input_ids.split(split_size),
            self.attention_mask.split(split_size),
            self.parent_indices.split(split_size),
            strict=True,
        ):
            yield SequenceBranches(*chunk)


def run_in_micro_batches(
    forward: Callable[[SequenceBranches], Tensor],
    branches: SequenceBranches,
    num_positions: int,
    max_forward_tokens: int,
) -> Float[Tensor, "M l H"]:
    """Run branches in micro-batches and concatenate the outputs.

    With gradient, the activations of several micro-batches would add up, so each is recomputed in the backward pass.

    Args:
        forward: function from branches to the last layer's output.
        branches: branches to run.
        num_positions: number of positions that each branch attends to in every layer.
        max_forward_tokens: the model's maximum number of tokens in a forward pass.
    """
    chunks = list(branches.split(max(1, ATTENDED_POSITIONS_PER_TOKEN * max_forward_tokens // num_positions)))
    if len(chunks) == 1 or not torch.is_grad_enabled():
        return torch.cat([forward(chunk) for chunk in chunks])
    return torch.cat([checkpoint(forward, chunk, use_reentrant=False) for chunk in chunks])


BranchedHiddenStates = tuple[Float[Tensor, "B T H"], Float[Tensor, "M l H"]]
"""Last layer's output for the tokens of the sequences, and for those of their branches."""
