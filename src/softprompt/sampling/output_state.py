"""State of one response while it is generated: all that determines its next token and its text, except the logits.

The engine and the plain loops of evaluation use it to sample, decode and end their responses, so they generate the same
text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from softprompt.sampling.finish_reason import FinishReason
from softprompt.sampling.logit_penalties import LogitPenalties
from softprompt.sampling.sampling_params import SamplingParams
from softprompt.sampling.token_output import SampledToken, TokenOutput


@runtime_checkable
class Detokenizer(Protocol):
    """Converter of the tokens of one response into text."""

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string was found."""
        ...

    def push_token(self, token_id: int) -> str:
        """Add a token, and return the text that has become certain."""
        ...

    def flush_text(self) -> str:
        """Return the text that was held back, when no further token follows."""
        ...


@runtime_checkable
class TokenMasker(Protocol):
    """Source of the masks of the tokens that may be next in one response."""

    def get_mask(self) -> NDArray[np.bool_] | None:
        """Return whether each token may be next; None if no token may."""
        ...

    def accept_token(self, token_id: int) -> None:
        """Advance by the next token."""
        ...


class OutputState:
    """State of one response. It can be rebuilt from the parameters and the tokens so far.

    Args:
        params: sampling parameters.
        prompt_token_ids: token ids of the prompt; negative ids are placeholders of virtual tokens.
        eos_token_ids: end-of-sequence tokens.
        detokenizer: turns the tokens into text, and finds stop strings; it has the text of `output_token_ids` already.
        grammar_state: decides which tokens may be next, after `output_token_ids`; None if all may.
        output_token_ids: tokens generated already.

    Attributes:
        params: sampling parameters.
        penalties: penalties and biases; None if the parameters have none.
        grammar_state: grammar state; None without a grammar.
        num_output_tokens: number of generated tokens.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt_token_ids: Sequence[int],
        eos_token_ids: Collection[int],
        detokenizer: Detokenizer,
        grammar_state: TokenMasker | None = None,
        output_token_ids: Sequence[int] = (),
    ):
        self.params, self.grammar_state, self._detokenizer = params, grammar_state, detokenizer
        self.penalties = LogitPenalties(params, prompt_token_ids, output_token_ids) if params.has_penalties else None
        self.num_output_tokens = len(output_token_ids)
        self._eos_token_ids = () if params.ignore_eos else eos_token_ids

    def accept_token(self, sampled: SampledToken) -> TokenOutput:
        """Update the state with the next token, and return what the token adds to the response."""
        if sampled.token_id is None:
            return TokenOutput(None, self.flush_text(), sampled.finish_reason)
        self.num_output_tokens += 1
        text, finish_reason = self._decode_token(sampled.token_id)
        if finish_reason is None:
            self._prepare_next_token(sampled.token_id)
        return TokenOutput(sampled.token_id, text, finish_reason, sampled.logprob, sampled.top_logprobs)

    def flush_text(self) -> str:
        """Return the text that was held back, when no further token follows."""
        return self._detokenizer.flush_text()

    def _decode_token(self, token_id: int) -> tuple[str, FinishReason | None]:
        """Return the text that is certain with a token, and the finish reason if the token is the last."""
        if token_id in self._eos_token_ids:  # such a token has no text
            return self.flush_text(), FinishReason.STOP
        text = self._detokenizer.push_token(token_id)
        if self._detokenizer.is_stopped:
            return text + self.flush_text(), FinishReason.STOP
        if self.num_output_tokens >= self.params.max_new_tokens:
            return text + self.flush_text(), FinishReason.LENGTH
        return text, None

    def _prepare_next_token(self, token_id: int) -> None:
        if self.penalties is not None:
            self.penalties.add_tokens([token_id])
        if self.grammar_state is not None:
            self.grammar_state.accept_token(token_id)
