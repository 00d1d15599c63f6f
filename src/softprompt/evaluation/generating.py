"""Write responses: one row or many, each behind its own prompt, greedily or sampled, whole or piece by piece.

A plain loop over one batch. Rows that come and go are the engine's work, not this module's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, Past, Payload, PromptedCache
from softprompt.tasks.objective import Row, arranged, padded


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: the longest response, in tokens.
        temperature: 0 takes the most probable token; above, the logits are divided by it and a token is drawn.
        top_p: draw from the fewest tokens that have this much probability.
        top_k: draw from this many; 0 for all.
        seed: of the draws.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise SettingError(f"no such sampling: {self}")


@torch.no_grad()
def steps(
    model: FrozenModel, rows: Sequence[Row], payloads: Sequence[Payload | None], sampling: Sampling
) -> Iterator[Int[Tensor, "B"]]:
    """The next token of each row, step after step, until all have ended; a row that has ended repeats `eos`."""
    ids, mask = padded([arranged(row, p) for row, p in zip(rows, payloads, strict=True)], model.device)
    past = model.stand_behind(list(payloads), len(rows), grow=True)
    hidden = model.advance(ids, mask, past)[torch.arange(len(rows)), mask.sum(dim=1) - 1]
    choose = _Chooser(sampling)
    ended = torch.zeros(len(rows), dtype=torch.bool, device=model.device)
    for remaining in range(sampling.max_new_tokens, 0, -1):
        tokens = torch.where(ended, model.eos, choose(ids, model.logits(hidden)))
        yield tokens
        ended |= tokens == model.eos
        if bool(ended.all()) or remaining == 1:
            return
        past = behind(past, mask)
        mask = torch.ones(len(rows), 1, dtype=torch.bool, device=model.device)
        hidden = model.advance(tokens.unsqueeze(1), mask, past)[:, -1]


def behind(past: Past, mask: Bool[Tensor, "B T"]) -> Past:
    """The state once tokens with this mask were added to the growing cache of `past`."""
    whole = torch.cat([past.mask, mask], dim=1)
    if isinstance(past.cache, PromptedCache):
        past.cache.mask = whole
    return Past(past.cache, whole)


def generate(
    model: FrozenModel,
    rows: Sequence[Row],
    payloads: Sequence[Payload | None],
    sampling: Sampling,
    batch_size: int = 16,
) -> list[str]:
    """The responses to rows, in their order, without the space that a template puts in front of an answer."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    texts = [""] * len(rows)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        columns = list(steps(model, [rows[i] for i in chosen], [payloads[i] for i in chosen], sampling))
        for i, tokens in zip(chosen, torch.stack(columns, dim=1).tolist(), strict=True):
            texts[i] = decoded(model, tokens).strip()
    return texts


def stream(model: FrozenModel, row: Row, payload: Payload | None, sampling: Sampling) -> Iterator[str]:
    """The response to one row in pieces, which join to what is written whole: no piece ends inside a character."""
    tokens: list[int] = []
    sent = ""
    for step in steps(model, [row], [payload], sampling):
        tokens.append(int(step[0]))
        text = decoded(model, tokens)
        # A replacement character at the end may be the beginning of a character whose other bytes are still to come.
        if not text.endswith("\ufffd") and len(text) > len(sent):
            yield text[len(sent) :]
            sent = text
    if rest := decoded(model, tokens)[len(sent) :]:
        yield rest


def decoded(model: FrozenModel, tokens: list[int]) -> str:
    """The text of a response up to its end-of-text token."""
    if model.eos in tokens:
        tokens = tokens[: tokens.index(model.eos)]
    return str(model.tokenizer.decode(tokens, skip_special_tokens=True))


class _Chooser:
    """Greedy or sampled, decided once; transformers' own warpers do the warping."""

    def __init__(self, sampling: Sampling):
        self.greedy = sampling.temperature == 0
        self.generator = torch.Generator().manual_seed(sampling.seed)
        self.warpers = LogitsProcessorList()
        if not self.greedy:
            self.warpers.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k:
            self.warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self.warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, ids: Int[Tensor, "B T"], logits: Float[Tensor, "B V"]) -> Int[Tensor, "B"]:
        if self.greedy:
            return logits.argmax(dim=-1)
        probabilities = self.warpers(cast(torch.LongTensor, ids), cast(torch.FloatTensor, logits)).softmax(dim=-1).cpu()
        return torch.multinomial(probabilities, 1, generator=self.generator)[:, 0].to(logits.device)
