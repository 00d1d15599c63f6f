"""Sampling of the next token of each response from its logits, independently of the rest of the batch."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.sampling.finish_reason import FinishReason
from softprompt.sampling.finite_logits import has_finite_logits
from softprompt.sampling.output_state import OutputState
from softprompt.sampling.token_draw import draw_token
from softprompt.sampling.token_output import SampledToken


def sample_tokens(logits: Float[Tensor, "B V"], states: Sequence[OutputState]) -> list[SampledToken]:
    """Sample the next token of each response by its own sampling parameters, penalties and grammar."""
    are_argmax_only = [_is_argmax_only(state) for state in states]
    argmax_ids = logits.argmax(dim=-1).tolist() if any(are_argmax_only) else [None] * len(states)
    are_finite = has_finite_logits(logits).tolist()
    return [
        _sample_token(sequence_logits, state, token_id if is_argmax_only else None)
        if is_finite
        else SampledToken(None, finish_reason=FinishReason.NON_FINITE)
        for sequence_logits, state, token_id, is_argmax_only, is_finite in zip(
            logits, states, argmax_ids, are_argmax_only, are_finite, strict=True
        )
    ]


def _is_argmax_only(state: OutputState) -> bool:
    """Whether the next token is the argmax of the logits, without penalties and grammar."""
    return state.params.is_greedy and state.penalties is None and state.grammar_state is None


def _sample_token(logits: Float[Tensor, "V"], state: OutputState, token_id: int | None) -> SampledToken:
    if token_id is None:
        adjusted = _adjust_logits(logits, state)
        if adjusted is None:
            return SampledToken(None, finish_reason=FinishReason.GRAMMAR_DEAD_END)
        token_id = int(adjusted.argmax()) if state.params.is_greedy else _draw_token(adjusted, state)
    return _add_logprobs(token_id, logits, state.params.logprobs)


def _adjust_logits(logits: Float[Tensor, "V"], state: OutputState) -> Float[Tensor, "V"] | None:
    """Return logits with penalties, biases and grammar mask applied; None if the grammar allows no token."""
    if state.penalties is not None:
        logits = state.penalties.apply_penalties(logits)
    if state.grammar_state is None:
        return logits
    mask = state.grammar_state.get_mask()
    return None if mask is None else logits.masked_fill(~torch.from_numpy(mask).to(logits.device), float("-inf"))


def _draw_token(logits: Float[Tensor, "V"], state: OutputState) -> int:
    """Draw a token. The draw depends only on the seed and the number of generated tokens."""
    probabilities = (logits.double() / state.params.temperature).softmax(dim=-1)
    uniform = random.Random(f"{state.params.seed} {state.num_output_tokens}").random()
    return draw_token(probabilities, state.params, uniform)


def _add_logprobs(token_id: int, logits: Float[Tensor, "V"], count: int | None) -> SampledToken:
    if count is None:
        return SampledToken(token_id)
    logprobs = logits.float().log_softmax(dim=-1)
    top_logprobs, top_ids = logprobs.topk(count)
    return SampledToken(
        token_id, float(logprobs[token_id]), tuple(zip(top_ids.tolist(), top_logprobs.tolist(), strict=True))
    )
