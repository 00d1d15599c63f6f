"""Sampling of the next token of each sequence from its logits, independently of the rest of the batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.engine.output_state import OutputState
from softprompt.engine.request import FinishReason
from softprompt.engine.sequence import EngineSequence
from softprompt.engine.token_draw import draw_token
from softprompt.sampling.finite_logits import has_finite_logits


@dataclass(frozen=True)
class SampledToken:
    """Next token of a sequence.

    Attributes:
        token_id: id of the token; None if the sequence must end without one.
        logprob: log-probability of the token under the model, if requested.
        top_logprobs: most probable tokens with their log-probabilities, in descending order.
        finish_reason: reason why there is no token.
    """

    token_id: int | None
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    finish_reason: FinishReason | None = None


def sample_tokens(
    logits: Float[Tensor, "B V"], sequences: Sequence[EngineSequence], output_states: Sequence[OutputState]
) -> list[SampledToken]:
    """Sample the next token of each sequence by its own sampling parameters and grammar."""
    are_argmax_only = [
        _is_argmax_only(sequence, output_state) for sequence, output_state in zip(sequences, output_states, strict=True)
    ]
    best = logits.argmax(dim=-1).tolist() if any(are_argmax_only) else [None] * len(sequences)
    are_finite = has_finite_logits(logits).tolist()
    return [
        _sample_token(row_logits, sequence, output_state, token_id if is_argmax_only else None)
        if is_finite
        else SampledToken(None, finish_reason=FinishReason.NON_FINITE)
        for row_logits, sequence, output_state, token_id, is_argmax_only, is_finite in zip(
            logits, sequences, output_states, best, are_argmax_only, are_finite, strict=True
        )
    ]


def _is_argmax_only(sequence: EngineSequence, output_state: OutputState) -> bool:
    """Whether the next token is the argmax of the logits, without penalties and grammar."""
    return sequence.request.sampling.is_greedy and output_state.penalties is None and output_state.grammar_state is None


def _sample_token(
    logits: Float[Tensor, "V"], sequence: EngineSequence, output_state: OutputState, token_id: int | None
) -> SampledToken:
    if token_id is None:
        adjusted = _adjust_logits(logits, output_state)
        if adjusted is None:
            return SampledToken(None, finish_reason=FinishReason.GRAMMAR_DEAD_END)
        token_id = int(adjusted.argmax()) if sequence.request.sampling.is_greedy else _draw_token(adjusted, sequence)
    return _add_logprobs(token_id, logits, sequence.request.sampling.logprobs)


def _adjust_logits(logits: Float[Tensor, "V"], output_state: OutputState) -> Float[Tensor, "V"] | None:
    """Return logits with penalties, biases and grammar mask applied; None if the grammar allows no token."""
    if output_state.penalties is not None:
        logits = output_state.penalties.apply_penalties(logits)
    if output_state.grammar_state is None:
        return logits
    mask = output_state.grammar_state.get_mask()
    return None if mask is None else logits.masked_fill(~torch.from_numpy(mask).to(logits.device), float("-inf"))


def _draw_token(logits: Float[Tensor, "V"], sequence: EngineSequence) -> int:
    """Draw a token. The draw depends only on the seed and the number of generated tokens."""
    sampling = sequence.request.sampling
    num_output_tokens = len(sequence.token_ids) - len(sequence.request.prompt_token_ids)
    probabilities = (logits.double() / sampling.temperature).softmax(dim=-1)
    return draw_token(probabilities, sampling, random.Random(f"{sampling.seed} {num_output_tokens}").random())


def _add_logprobs(token_id: int, logits: Float[Tensor, "V"], count: int | None) -> SampledToken:
    if count is None:
        return SampledToken(token_id)
    logprobs = logits.float().log_softmax(dim=-1)
    values, best = logprobs.topk(count)
    return SampledToken(token_id, float(logprobs[token_id]), tuple(zip(best.tolist(), values.tolist(), strict=True)))
