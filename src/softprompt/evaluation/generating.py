"""Write responses: one row or many, each behind its own prompt, greedily or sampled, whole or piece by piece.

A plain loop over one batch. Rows that come and go are the engine's work, not this module's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from softprompt.errors import SettingError
from softprompt.evaluation.overflow import overflow_error
from softprompt.model import Payload, WritingModel
from softprompt.model.detokenizer import Detokenizer
from softprompt.model.finite import find_finite_rows
from softprompt.tasks.objective import Row, arranged, padded

GREEDY_UP_TO = 1e-5
"""The temperature up to which the most probable token is taken: logits divided by as little may be infinite."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: the longest response, in tokens.
        temperature: up to `GREEDY_UP_TO` the most probable token is taken; above, the logits are divided by it and a
            token is drawn.
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
        right = {
            f"`max_new_tokens={self.max_new_tokens}`: choose at least 1": self.max_new_tokens >= 1,
            f"`temperature={self.temperature}`: choose 0 or more": self.temperature >= 0,
            f"`top_p={self.top_p}`: choose above 0, up to 1": 0 < self.top_p <= 1,
            f"`top_k={self.top_k}`: choose 0 or more": self.top_k >= 0,
        }
        if wrong := [complaint for complaint, is_right in right.items() if not is_right]:
            raise SettingError("; ".join(wrong))


@torch.no_grad()
def steps(
    model: WritingModel, rows: Sequence[Row], payloads: Sequence[Payload | None], sampling: Sampling
) -> Iterator[Int[Tensor, "B"]]:
    """The next token of each row, step after step, until all have ended; a row that has ended repeats `eos`.

    Raises:
        OverflowingPrompt: the model's numbers behind a prompt are not finite.
    """
    if not rows:
        return
    ids, mask = padded([arranged(row, p)[0] for row, p in zip(rows, payloads, strict=True)], model.device)
    draft = model.draft(ids, mask, list(payloads))
    choose, ends = _Chooser(sampling), torch.tensor(model.eos_token_ids, dtype=torch.long, device=model.device)
    filler = 0 if model.eos is None else model.eos
    ended = torch.zeros(len(rows), dtype=torch.bool, device=model.device)
    for remaining in range(sampling.max_new_tokens, 0, -1):
        logits = model.logits(draft.hidden)
        if not find_finite_rows(logits).all():
            raise overflow_error()
        tokens = torch.where(ended, filler, choose(ids, logits))
        yield tokens
        ended |= torch.isin(tokens, ends)
        if bool(ended.all()) or remaining == 1:
            return
        draft = draft.extended(tokens)


def generate(
    model: WritingModel,
    rows: Sequence[Row],
    payloads: Sequence[Payload | None],
    sampling: Sampling,
    batch_size: int = 16,
    on_progress: Callable[[int], None] | None = None,
) -> list[str]:
    """The responses to rows, in their order, without the space that a template puts in front of an answer.

    `on_progress` gets how many are done.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    texts = [""] * len(rows)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        columns = list(steps(model, [rows[i] for i in chosen], [payloads[i] for i in chosen], sampling))
        for i, tokens in zip(chosen, torch.stack(columns, dim=1).tolist(), strict=True):
            texts[i] = decoded(model, tokens).strip()
        if on_progress is not None:
            on_progress(start + len(chosen))
    return texts


def stream(model: WritingModel, row: Row, payload: Payload | None, sampling: Sampling) -> Iterator[str]:
    """The response to one row in pieces, which join to what is written whole: no piece ends inside a character."""
    detokenizer = Detokenizer(lambda tokens: decoded(model, tokens))
    for step in steps(model, [row], [payload], sampling):
        if int(step[0]) in model.eos_token_ids:
            break
        if piece := detokenizer.add(int(step[0])):
            yield piece
    if rest := detokenizer.rest():
        yield rest


def decoded(model: WritingModel, tokens: list[int]) -> str:
    """The text of a response up to the first token that ends it."""
    end = next((i for i, token in enumerate(tokens) if token in model.eos_token_ids), None)
    return str(model.tokenizer.decode(tokens[:end], skip_special_tokens=True))


class _Chooser:
    """Greedy or sampled, decided once; transformers' own warpers do the warping."""

    def __init__(self, sampling: Sampling):
        self.greedy = sampling.temperature <= GREEDY_UP_TO
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
