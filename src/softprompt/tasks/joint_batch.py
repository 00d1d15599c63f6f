"""Join the batches of several prompts or tasks, so that they share one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

from softprompt.model.branches import SequenceBranches
from softprompt.tasks.collation import Batch


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Concatenate the sequences of all batches, padded to the longest; output states keep the order of the batches."""
    if len(batches) == 1:
        return batches[0]
    T = max(batch.input_ids.shape[1] for batch in batches)
    branches = [batch.branches for batch in batches if batch.branches is not None]
    branch_width = max((item.input_ids.shape[1] for item in branches), default=0)
    sequence_offsets = list(accumulate((len(batch.input_ids) for batch in batches), initial=0))
    branch_offsets = list(accumulate((_count_branches(batch.branches) for batch in batches), initial=0))
    return Batch(
        torch.cat([_pad_to_width(batch.input_ids, T) for batch in batches]),
        torch.cat([_pad_to_width(batch.attention_mask, T) for batch in batches]),
        output_indices=torch.cat(
            [
                torch.where(
                    batch.output_indices < batch.input_ids.numel(),
                    _shift_indices(batch.output_indices, batch.input_ids.shape[1], sequences_before, T),
                    sequence_offsets[-1] * T
                    + _shift_indices(
                        batch.output_indices - batch.input_ids.numel(),
                        _get_branch_width(batch.branches),
                        branches_before,
                        branch_width,
                    ),
                )
                for batch, sequences_before, branches_before in zip(
                    batches, sequence_offsets, branch_offsets, strict=False
                )
            ]
        ),
        targets=torch.cat([batch.targets for batch in batches]),
        example_weights=torch.cat([batch.example_weights for batch in batches]),
        branches=_join_branches(batches, sequence_offsets, branch_width) if branches else None,
    )


def _join_branches(batches: Sequence[Batch], sequences: Sequence[int], width: int) -> SequenceBranches:
    branches_and_offsets = [(batch.branches, offset) for batch, offset in zip(batches, sequences, strict=False)]
    present = [(branches, offset) for branches, offset in branches_and_offsets if branches is not None]
    return SequenceBranches(
        torch.cat([_pad_to_width(branches.input_ids, width) for branches, _ in present]),
        torch.cat([_pad_to_width(branches.attention_mask, width) for branches, _ in present]),
        torch.cat([branches.parent_indices + offset for branches, offset in present]),
    )


def _shift_indices(indices: Int[Tensor, "R"], old_width: int, num_rows_above: int, width: int) -> Int[Tensor, "R"]:
    """Map indices of sequences of length `old_width` to length `width`, below `num_rows_above` other sequences."""
    return (num_rows_above + indices // old_width) * width + indices % old_width


def _pad_to_width(sequences: Tensor, width: int) -> Tensor:
    return pad(sequences, (0, width - sequences.shape[1]))


def _count_branches(branches: SequenceBranches | None) -> int:
    return 0 if branches is None else len(branches.input_ids)


def _get_branch_width(branches: SequenceBranches | None) -> int:
    return 1 if branches is None else branches.input_ids.shape[1]
