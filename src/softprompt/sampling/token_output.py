"""Sampled tokens, and the outputs that they add to their responses. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.sampling.finish_reason import FinishReason


@dataclass(frozen=True)
class SampledToken:
    """Next token of a response.

    Attributes:
        token_id: id of the token; None if the response must end without one.
        logprob: log-probability of the token under the model, if requested.
        top_logprobs: most probable tokens with their log-probabilities, in descending order.
        finish_reason: reason why there is no token.
    """

    token_id: int | None
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    finish_reason: FinishReason | None = None


@dataclass(frozen=True)
class TokenOutput:
    """One token of a response, and its text.

    Attributes:
        token_id: id of the token; None if the response ends without one.
        text: text that has become certain with this token.
        finish_reason: reason why this token is the last; None if the response continues.
        logprob: log-probability of the token, if requested.
        top_logprobs: most probable tokens with their log-probabilities.
    """

    token_id: int | None
    text: str
    finish_reason: FinishReason | None
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
