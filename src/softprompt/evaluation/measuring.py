"""Run rows through the model, the long with the long, and keep each row's outputs in the order they were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from softprompt.errors import DataError
from softprompt.model import Payloads
from softprompt.tasks import Objective, Row
from softprompt.tasks.passes import cut


@torch.no_grad()
def row_outputs(
    objective: Objective, payloads: Payloads, rows: Sequence[Row], on_progress: Callable[[int], None] | None = None
) -> Float[Tensor, "N C"]:
    """What the objective keeps of each row, on the CPU; `on_progress` gets how many rows are done."""
    if rows and not isinstance(payloads, Sequence):
        payloads = objective.behind(payloads, rows)
    passes = cut([len(row) + objective.extra_length for row in rows], objective.model)
    found, done = [], 0
    for chosen in passes:
        behind = [payloads[i] for i in chosen] if isinstance(payloads, Sequence) else payloads
        batch = objective.collate([rows[i] for i in chosen], behind)
        found.append(objective.outputs(objective.read(batch, behind), batch).cpu())
        if on_progress is not None:
            on_progress(done := done + len(chosen))
    # Of a task that reads every word, a row has as many columns as the longest of its pass: they are padded behind.
    outputs = pad_sequence([row for each in found for row in each], batch_first=True)
    return outputs[torch.tensor([i for chosen in passes for i in chosen]).argsort()]


def measure(
    objective: Objective, payloads: Payloads, rows: Sequence[Row], on_progress: Callable[[int], None] | None = None
) -> dict[str, float]:
    """Figures of merit of compiled payloads (None: the hard prompt alone) over rows with known answers.

    Raises:
        DataError: there are no rows.
    """
    if not rows:
        raise DataError("there are no examples to measure on")
    return objective.metrics(row_outputs(objective, payloads, rows, on_progress), rows)
