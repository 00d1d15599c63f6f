"""From logits to the next token of each row, whatever else is in the batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.engine.drawing import draw_token
from softprompt.engine.request import End
from softprompt.engine.row_state import RowState
from softprompt.engine.running import Running
from softprompt.model.finite import find_finite_rows


@dataclass(frozen=True)
class Choice:
    """The next token of a row.

    Attributes:
        token: it; None if the row has to end without one.
        logprob: the logarithm of its probability to the model, if that was asked for.
        alternatives: the most probable tokens with theirs, the first one first.
        end: why there is none.
    """

    token: int | None
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()
    end: End | None = None


def choose_tokens(logits: Float[Tensor, "B V"], rows: Sequence[Running], states: Sequence[RowState]) -> list[Choice]:
    """The next token of each row: by its own rules, in its grammar if it has one."""
    are_plain = [_is_plain(row, state) for row, state in zip(rows, states, strict=True)]
    best = logits.argmax(dim=-1).tolist() if any(are_plain) else [None] * len(rows)
    are_finite = find_finite_rows(logits).tolist()
    return [
        _choose_token(each, row, state, token if is_plain else None) if is_finite else Choice(None, end=End.OVERFLOW)
        for each, row, state, token, is_plain, is_finite in zip(
            logits, rows, states, best, are_plain, are_finite, strict=True
        )
    ]


def _is_plain(row: Running, state: RowState) -> bool:
    """Its next token is the most probable one, whatever it has written."""
    return row.request.sampling.is_greedy and state.penalties is None and state.guide is None


def _choose_token(logits: Float[Tensor, "V"], row: Running, state: RowState, token: int | None) -> Choice:
    if token is None:
        adjusted = _adjust_logits(logits, state)
        if adjusted is None:
            return Choice(None, end=End.STUCK)
        token = int(adjusted.argmax()) if row.request.sampling.is_greedy else _draw_token(adjusted, row)
    return _with_logprobs(token, logits, row.request.sampling.logprobs)


def _adjust_logits(logits: Float[Tensor, "V"], state: RowState) -> Float[Tensor, "V"] | None:
    """Logits with a row's penalties and biases, of the tokens that its grammar allows; None if it allows none."""
    if state.penalties is not None:
        logits = state.penalties.apply(logits)
    if state.guide is None:
        return logits
    mask = state.guide.mask()
    return None if mask is None else logits.masked_fill(~torch.from_numpy(mask).to(logits.device), float("-inf"))


def _draw_token(logits: Float[Tensor, "V"], row: Running) -> int:
    """A token, drawn by the row's own number: which one depends on its seed and how far it is, and on nothing else."""
    sampling, written = row.request.sampling, len(row.known) - len(row.request.ids)
    probabilities = (logits.double() / sampling.temperature).softmax(dim=-1)
    return draw_token(probabilities, sampling, random.Random(f"{sampling.seed} {written}").random())


def _with_logprobs(token: int, logits: Float[Tensor, "V"], count: int | None) -> Choice:
    if count is None:
        return Choice(token)
    logprobs = logits.float().log_softmax(dim=-1)
    values, best = logprobs.topk(count)
    return Choice(token, float(logprobs[token]), tuple(zip(best.tolist(), values.tolist(), strict=True)))
