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
    tokens = [
        _sample_token(sequence_logits, state, token_id if is_argmax_only else None)
        if is_finite
        else SampledToken(None, finish_reason=FinishReason.NON_FINITE)
        for sequence_logits, state, token_id, is_argmax_only, is_finite in zip(
            logits, states, argmax_ids, are_argmax_only, are_finite, strict=True
        )
    ]
    return _add_logprobs(tokens, logits, [state.params.logprobs for state in states])


def _is_argmax_only(state: OutputState) -> bool:
    """Whether the next token is the argmax of the logits, without penalties and grammar."""
    return state.params.is_greedy and state.penalties is None and state.grammar_state is None


def _sample_token(logits: Float[Tensor, "V"], state: OutputState, token_id: int | None) -> SampledToken:
    if token_id is None:
        adjusted = _adjust_logits(logits, state)
        if adjusted is None:
            return SampledToken(None, finish_reason=FinishReason.GRAMMAR_DEAD_END)
        token_id = int(adjusted.argmax()) if state.params.is_greedy else _draw_token(adjusted, state)
    return SampledToken(token_id)


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


def _add_logprobs(
    tokens: Sequence[SampledToken], logits: Float[Tensor, "B V"], counts: Sequence[int | None]
) -> list[SampledToken]:
    """Add log-probabilities to the tokens for which a number of top tokens is requested, all in the same few calls.

    With calls for each token, the thread of the model would wait for Python's other threads at each of them.
    """
    tokens = list(tokens)
    requested = [
        (index, token.token_id, count)
        for index, (token, count) in enumerate(zip(tokens, counts, strict=True))
        if token.token_id is not None and count is not None
    ]
    if not requested:
        return tokens
    indices, token_ids, requested_counts = zip(*requested, strict=True)
    logprobs = logits[list(indices)].float().log_softmax(dim=-1)
    sampled_logprobs = logprobs.gather(1, torch.tensor(token_ids, device=logits.device).unsqueeze(1))[:, 0].tolist()
    top_logprobs, top_ids = (values.tolist() for values in logprobs.topk(max(requested_counts)))
    for row, (index, token_id, count) in enumerate(requested):
        top = tuple(zip(top_ids[row][:count], top_logprobs[row][:count], strict=True))
        tokens[index] = SampledToken(token_id, sampled_logprobs[row], top)
    return tokens
