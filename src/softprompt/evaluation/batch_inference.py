"""Batched inference on examples with known answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from softprompt.errors import DataError
from softprompt.model import BatchPayloads
from softprompt.tasks import EncodedExample, Objective
from softprompt.tasks.length_buckets import bucket_by_length


@torch.no_grad()
def collect_outputs(
    objective: Objective,
    payloads: BatchPayloads,
    examples: Sequence[EncodedExample],
    on_progress: Callable[[int], None] | None = None,
) -> Float[Tensor, "N C"]:
    """Run the examples in length buckets; return the objective's outputs, `[N, C]`, on the CPU and in input order.

    Args:
        objective: task bound to the model.
        payloads: compiled payload of all examples or of each; None for the hard prompt alone.
        examples: encoded examples.
        on_progress: called with the number of finished examples.
    """
    if examples and not isinstance(payloads, Sequence):
        payloads = objective.extend_prefix(payloads, examples)
    buckets = bucket_by_length([len(example) + objective.num_extra_tokens for example in examples], objective.model)
    outputs, num_done = [], 0
    for indices in buckets:
        bucket_payloads = [payloads[i] for i in indices] if isinstance(payloads, Sequence) else payloads
        batch = objective.collate([examples[i] for i in indices], bucket_payloads)
        outputs.append(objective.compute_outputs(objective.forward_batch(batch, bucket_payloads), batch).cpu())
        if on_progress is not None:
            on_progress(num_done := num_done + len(indices))
    # A token classification task has as many columns as the longest example of the bucket: outputs are right-padded.
    stacked = pad_sequence([example for batch_outputs in outputs for example in batch_outputs], batch_first=True)
    return stacked[torch.tensor([i for indices in buckets for i in indices]).argsort()]


def compute_metrics(
    objective: Objective,
    payloads: BatchPayloads,
    examples: Sequence[EncodedExample],
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Return the metrics of compiled payloads on examples with known answers.

    Args:
        objective: task bound to the model.
        payloads: compiled payload of all examples or of each; None for the hard prompt alone.
        examples: encoded examples.
        on_progress: called with the number of finished examples.

    Raises:
        DataError: there are no examples.
    """
    if not examples:
        raise DataError("there are no examples to compute metrics on: pass at least one")
    return objective.compute_metrics(collect_outputs(objective, payloads, examples, on_progress), examples)
