"""From logits to the next token of each row, whatever else is in the batch."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.engine.request import Sampling
from softprompt.engine.scheduler import Running


def chosen(logits: Float[Tensor, "B V"], rows: Sequence[Running]) -> list[int]:
    """The next token of each row."""
    logits = (
        torch.stack([_adjusted(each, row) for each, row in zip(logits, rows, strict=True)])
        if any(_adjusts(row.request.sampling) for row in rows)
        else logits
    )
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    for index, row in enumerate(rows):
        if row.request.sampling.temperature > 0:
            tokens[index] = _drawn(logits[index], row)
    return tokens


def _adjusts(sampling: Sampling) -> bool:
    penalties = (sampling.presence_penalty, sampling.frequency_penalty, sampling.repetition_penalty - 1)
    return any(penalties) or bool(sampling.logit_bias)


def _adjusted(logits: Float[Tensor, "V"], row: Running) -> Float[Tensor, "V"]:
    """Logits with the penalties and biases of a row."""
    sampling = row.request.sampling
    logits = logits.clone()
    if sampling.repetition_penalty != 1:
        seen = torch.tensor(
            sorted({token for token in row.known if token >= 0}), device=logits.device, dtype=torch.long
        )
        some = logits[seen]
        logits[seen] = torch.where(some > 0, some / sampling.repetition_penalty, some * sampling.repetition_penalty)
    for token, count in Counter(row.written).items():
        logits[token] -= sampling.presence_penalty + sampling.frequency_penalty * count
    for token, bias in sampling.logit_bias.items():
        logits[token] += bias
    return logits


def _drawn(logits: Float[Tensor, "V"], row: Running) -> int:
    """A token, drawn by the row's own number: which one depends on its seed and how far it is, and on nothing else."""
    sampling = row.request.sampling
    probabilities = (logits.double() / sampling.temperature).softmax(dim=-1)
    ordered, tokens = probabilities.sort(descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if sampling.top_k:
        keep[sampling.top_k :] = False
    keep &= ordered >= sampling.min_p * ordered[0]
    kept = ordered * keep
    keep &= (kept.cumsum(dim=0) - kept) < sampling.top_p * kept.sum()  # the one that reaches it is among them
    reach = (ordered * keep).cumsum(dim=0)
    number = random.Random(f"{sampling.seed} {len(row.written)}").random() * float(reach[-1])
    return int(tokens[min(int(torch.searchsorted(reach, number, right=True)), int(keep.sum()) - 1)])
