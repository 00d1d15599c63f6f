"""Batches of several prompts, or of several tasks, as one: they go through the model together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

from softprompt.model.branches import Branches
from softprompt.tasks.objective import Batch


def join_batches(batches: Sequence[Batch]) -> Batch:
    """The sequences of all batches, one below the other, padded to the longest; their states are read in that order."""
    if len(batches) == 1:
        return batches[0]
    T = max(batch.ids.shape[1] for batch in batches)
    branches = [batch.branches for batch in batches if batch.branches is not None]
    width = max((each.ids.shape[1] for each in branches), default=0)
    sequences = list(accumulate((len(batch.ids) for batch in batches), initial=0))
    ways = list(accumulate((_count(batch.branches) for batch in batches), initial=0))
    return Batch(
        torch.cat([_widen(batch.ids, T) for batch in batches]),
        torch.cat([_widen(batch.mask, T) for batch in batches]),
        reads=torch.cat(
            [
                torch.where(
                    batch.reads < batch.ids.numel(),
                    _moved(batch.reads, batch.ids.shape[1], above, T),
                    sequences[-1] * T + _moved(batch.reads - batch.ids.numel(), _width(batch.branches), before, width),
                )
                for batch, above, before in zip(batches, sequences, ways, strict=False)
            ]
        ),
        targets=torch.cat([batch.targets for batch in batches]),
        weights=torch.cat([batch.weights for batch in batches]),
        branches=_joined(batches, sequences, width) if branches else None,
    )


def _joined(batches: Sequence[Batch], sequences: Sequence[int], width: int) -> Branches:
    found = [(batch.branches, above) for batch, above in zip(batches, sequences, strict=False)]
    some = [(branches, above) for branches, above in found if branches is not None]
    return Branches(
        torch.cat([_widen(branches.ids, width) for branches, _ in some]),
        torch.cat([_widen(branches.mask, width) for branches, _ in some]),
        torch.cat([branches.rows + above for branches, above in some]),
    )


def _moved(reads: Int[Tensor, "R"], own: int, above: int, width: int) -> Int[Tensor, "R"]:
    """Places in rows of `own` tokens, once there are `above` more rows above them and all are `width` wide."""
    return (above + reads // own) * width + reads % own


def _widen(rows: Tensor, width: int) -> Tensor:
    return pad(rows, (0, width - rows.shape[1]))


def _count(branches: Branches | None) -> int:
    return 0 if branches is None else len(branches.ids)


def _width(branches: Branches | None) -> int:
    return 1 if branches is None else branches.ids.shape[1]
