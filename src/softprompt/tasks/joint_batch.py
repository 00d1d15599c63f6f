"""Join the batches of several prompts or tasks, so that they share one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    branch_width = max(
        (_get_branch_width(batch.branches) for batch in batches if batch.branches is not None), default=0
    )
    return Batch(
        torch.cat([_pad_to_width(batch.input_ids, T) for batch in batches]),
        torch.cat([_pad_to_width(batch.attention_mask, T) for batch in batches]),
        output_indices=_join_output_indices(batches, T, branch_width),
        targets=torch.cat([batch.targets for batch in batches]),
        example_weights=torch.cat([batch.example_weights for batch in batches]),
        branches=_join_branches(batches, branch_width) if _has_branches(batches) else None,
    )


def _join_output_indices(batches: Sequence[Batch], width: int, branch_width: int) -> Int[Tensor, "R"]:
    """Map the output indices of each batch to the joined sequences of `width`, followed by the joined branches."""
    sequence_offsets = _accumulate_counts(len(batch.input_ids) for batch in batches)
    branch_offsets = _accumulate_counts(_count_branches(batch.branches) for batch in batches)
    joined = []
    for batch, sequences_before, branches_before in zip(batches, sequence_offsets, branch_offsets, strict=False):
        indices, num_tokens = batch.output_indices, batch.input_ids.numel()
        old_width, old_branch_width = batch.input_ids.shape[1], _get_branch_width(batch.branches)
        in_sequences = _shift_indices(indices, old_width, sequences_before, width)
        in_branches = _shift_indices(indices - num_tokens, old_branch_width, branches_before, branch_width)
        joined.append(torch.where(indices < num_tokens, in_sequences, sequence_offsets[-1] * width + in_branches))
    return torch.cat(joined)


def _join_branches(batches: Sequence[Batch], width: int) -> SequenceBranches:
    sequence_offsets = _accumulate_counts(len(batch.input_ids) for batch in batches)
    branches_and_offsets = [(batch.branches, offset) for batch, offset in zip(batches, sequence_offsets, strict=False)]
    present = [(branches, offset) for branches, offset in branches_and_offsets if branches is not None]
    return SequenceBranches(
        torch.cat([_pad_to_width(branches.input_ids, width) for branches, _ in present]),
        torch.cat([_pad_to_width(branches.attention_mask, width) for branches, _ in present]),
        torch.cat([branches.parent_indices + offset for branches, offset in present]),
    )


def _accumulate_counts(counts: Iterable[int]) -> list[int]:
    """Return the sum of the counts before each count, and last the sum of all counts."""
    return list(accumulate(counts, initial=0))


def _shift_indices(indices: Int[Tensor, "R"], old_width: int, num_rows_above: int, width: int) -> Int[Tensor, "R"]:
    """Map indices of sequences of length `old_width` to length `width`, below `num_rows_above` other sequences."""
    return (num_rows_above + indices // old_width) * width + indices % old_width


def _pad_to_width(sequences: Tensor, width: int) -> Tensor:
    return pad(sequences, (0, width - sequences.shape[1]))


def _has_branches(batches: Sequence[Batch]) -> bool:
    return any(batch.branches is not None for batch in batches)


def _count_branches(branches: SequenceBranches | None) -> int:
    return 0 if branches is None else len(branches.input_ids)


def _get_branch_width(branches: SequenceBranches | None) -> int:
    return 1 if branches is None else branches.input_ids.shape[1]
