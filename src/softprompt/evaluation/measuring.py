"""Run rows through the model, the long with the long, and keep each row's outputs in the order they were given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from softprompt.model import Payload
from softprompt.tasks import Objective, Row


@torch.no_grad()
def row_outputs(
    objective: Objective, payload: Payload | None, rows: Sequence[Row], batch_size: int = 32
) -> Float[Tensor, "N C"]:
    """What the objective keeps of each row, on the CPU."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found = []
    for start in range(0, len(order), batch_size):
        batch = objective.collate([rows[i] for i in order[start : start + batch_size]], payload)
        found.append(objective.outputs(objective.read(batch, payload), batch).cpu())
    # Of a task that reads every word, a row has as many columns as the longest of its batch: they are padded behind.
    return pad_sequence([row for each in found for row in each], batch_first=True)[torch.tensor(order).argsort()]


def measure(
    objective: Objective, payload: Payload | None, rows: Sequence[Row], batch_size: int = 32
) -> dict[str, float]:
    """Figures of merit of a compiled payload (None: the hard prompt alone) over rows with known answers."""
    return objective.metrics(row_outputs(objective, payload, rows, batch_size), rows)
