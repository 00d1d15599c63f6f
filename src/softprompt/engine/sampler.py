"""From logits to the next token of each row, whatever else is in the batch."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.engine.grammar import Guide
from softprompt.engine.running import Running


@dataclass(frozen=True)
class Choice:
    """The next token of a row.

    Attributes:
        token: it; None if the row's grammar allows none.
        logprob: the logarithm of its probability to the model, if that was asked for.
        alternatives: the most probable tokens with theirs, the first one first.
    """

    token: int | None
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


def chosen(
    logits: Float[Tensor, "B V"], rows: Sequence[Running], guides: Mapping[Running, Guide] = MappingProxyType({})
) -> list[Choice]:
    """The next token of each row, in its grammar if it has one."""
    best = logits.argmax(dim=-1).tolist()
    tokens = [
        token if _is_greedy(row) and row not in guides else _token(each, row, guides.get(row))
        for token, each, row in zip(best, logits, rows, strict=True)
    ]
    return [
        Choice(token) if token is None else _told(token, each, row.request.sampling.logprobs)
        for token, each, row in zip(tokens, logits, rows, strict=True)
    ]


def _token(logits: Float[Tensor, "V"], row: Running, guide: Guide | None) -> int | None:
    """A row's next token by its own rules; None if its grammar allows none."""
    adjusted = _adjusted(logits, row, guide)
    if adjusted is None:
        return None
    return int(adjusted.argmax()) if row.request.sampling.is_greedy else _drawn(adjusted, row)


def _told(token: int, logits: Float[Tensor, "V"], count: int | None) -> Choice:
    if count is None:
        return Choice(token)
    logprobs = logits.float().log_softmax(dim=-1)
    values, best = logprobs.topk(count)
    return Choice(token, float(logprobs[token]), tuple(zip(best.tolist(), values.tolist(), strict=True)))


def _is_greedy(row: Running) -> bool:
    """Its next token is the most probable one, whatever it has written."""
    sampling = row.request.sampling
    penalties = (sampling.presence_penalty, sampling.frequency_penalty, sampling.repetition_penalty - 1)
    return sampling.is_greedy and not (any(penalties) or sampling.logit_bias)


def _adjusted(logits: Float[Tensor, "V"], row: Running, guide: Guide | None) -> Float[Tensor, "V"] | None:
    """Logits with a row's penalties and biases, of the tokens that its grammar allows; None if it allows none."""
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
    if guide is None:
        return logits
    allowed = guide.allowed(len(logits))
    return None if allowed is None else logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), float("-inf"))


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
    keep[0] = True  # the product may be too small to be told from 0
    reach = (ordered * keep).cumsum(dim=0)
    number = random.Random(f"{sampling.seed} {len(row.written)}").random() * float(reach[-1])
    return int(tokens[min(int(torch.searchsorted(reach, number, right=True)), int(keep.sum()) - 1)])
