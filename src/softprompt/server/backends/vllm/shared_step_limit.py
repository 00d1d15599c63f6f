"""Limit on a tenant's tokens in a replica's step while other tenants are active. Imports no torch.

A replica computes the next token of all its sequences in a step, and parts of the texts of new ones, so each further
token of a step delays those of the other sequences. While other tenants send requests now and then, a tenant therefore
gets only as many tokens as keep a step below `MAX_SLOWDOWN` times the step of a single token. A generating sequence
counts one token. A new one counts the tokens of its text, at most `MAX_PREFILL_TOKENS`, until its first token.

The limit is learned from the times between tokens. It starts low and grows as larger steps are seen ("slow start", as
in TCP congestion control: Jacobson 1988, doi 10.1145/52324.52356). On an accelerator, where a step of many tokens takes
hardly longer than one of few, it soon limits nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from softprompt.engine.step_cost_model import StepCostModel

MAX_SLOWDOWN = 1.5  # of a step, compared with a step of one token
INITIAL_LIMIT = 4
GROWTH_FACTOR = 2  # the limit is at most this multiple of the largest number of tokens seen
MAX_PREFILL_TOKENS = 4  # of a text in a step: vLLM's `--long-prefill-token-threshold` on a CPU


class SharedStepLimit:
    """Limit on a tenant's tokens in a step of one replica while other tenants are active. Not thread-safe.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._step_costs = StepCostModel()
        self._max_observed = 0
        self._last_observation = float("-inf")

    def is_new_step(self, seconds: float) -> bool:
        """Return whether a step that has just ended was not observed yet.

        All sequences of a step observe it, so observations within half a step of the previous one are the same step.

        Args:
            seconds: time between two tokens of a sequence.
        """
        return self._clock() - self._last_observation >= seconds / 2

    def observe_step(self, num_tokens: int, seconds: float) -> None:
        """Update the limit with the time between two tokens of a sequence, unless the step was observed already.

        Args:
            num_tokens: tokens in the step, at least 1.
            seconds: time between the tokens.
        """
        if not self.is_new_step(seconds):
            return
        self._last_observation = self._clock()
        self._max_observed = max(self._max_observed, num_tokens)
        self._step_costs.observe_step(0, num_tokens, seconds)

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens in a step, at least 1."""
        explored_limit = max(INITIAL_LIMIT, GROWTH_FACTOR * self._max_observed)
        base, per_token = self._step_costs.base_seconds, self._step_costs.decode_token_seconds
        if explored_limit * per_token <= (MAX_SLOWDOWN - 1) * (base + per_token):
            return explored_limit
        return max(1, min(explored_limit, int(MAX_SLOWDOWN + (MAX_SLOWDOWN - 1) * base / per_token)))


def count_step_tokens(num_text_tokens: int) -> int:
    """Return how many tokens of a step a new sequence counts, by the length of its text."""
    return max(1, min(num_text_tokens, MAX_PREFILL_TOKENS))
