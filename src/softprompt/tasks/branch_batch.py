"""Rows whose labels are read in several places behind them: the row once, and the ways on as its branches."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from softprompt.model import FrozenModel, Payloads
from softprompt.model.branches import Branches
from softprompt.tasks.objective import Batch, Row, arranged, padded, payload_of
from softprompt.tasks.reader import Reader


def branch_batch(
    model: FrozenModel, rows: Sequence[Row], payloads: Payloads, reader: Reader, chosen: range | None = None
) -> Batch:
    """Rows as one sequence each, and each path of the reader as a branch of every row.

    Of the `chosen` paths alone only their own nodes are read, path by path.
    """
    chosen_paths = reader.paths if chosen is None else reader.paths[chosen.start : chosen.stop]
    nodes = reader.nodes if chosen is None else nodes_of(reader, chosen)
    prompts = [arranged(row, payload_of(payloads, i))[0] for i, row in enumerate(rows)]
    ids, mask = padded(prompts, model.device)
    B, T, M = *ids.shape, len(chosen_paths)
    path_ids, path_mask = padded(chosen_paths, model.device)
    width = path_ids.shape[1]
    own = torch.arange(B, device=ids.device).unsqueeze(1)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=ids.device).unsqueeze(1)
    paths, depths = torch.tensor(nodes, device=ids.device).unbind(dim=1)
    in_row = own * T + lengths + reader.answer_begins
    in_branch = B * T + (own * M + paths) * width + depths - 1
    return Batch(
        ids,
        mask,
        reads=torch.where(depths == 0, in_row, in_branch).flatten(),
        targets=torch.tensor([row.label for row in rows], device=ids.device),
        weights=torch.ones(B, device=ids.device),
        branches=Branches(path_ids.repeat(B, 1), path_mask.repeat(B, 1), own.flatten().repeat_interleave(M)),
    )


def nodes_of(reader: Reader, chosen: range) -> list[tuple[int, int]]:
    """The nodes of some paths, path by path; the paths are counted from the first of them."""
    found = [(path - chosen.start, depth) for path, depth in reader.nodes if path in chosen]
    return sorted(found, key=lambda node: node[0])
