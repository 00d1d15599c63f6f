"""Limit on a tenant's sequences at a replica while other tenants are active. Imports no torch.

A replica generates one token of all its sequences in a step, so each further sequence delays the tokens of the others.
While other tenants send requests now and then, a tenant therefore gets only as many sequences as keep a step below
`MAX_SLOWDOWN` times the step of a single sequence. The limit is learned from the times between tokens. It starts low
and grows as larger steps are seen ("slow start", as in TCP congestion control: Jacobson 1988, doi 10.1145/52324.52356).
On an accelerator, where a step of many sequences takes hardly longer than one of few, it soon limits nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from softprompt.engine.step_cost_model import StepCostModel

MAX_SLOWDOWN = 1.5  # of a step, compared with a step of one sequence
INITIAL_LIMIT = 4
GROWTH_FACTOR = 2  # the limit is at most this multiple of the largest number of sequences seen


class SharedSequenceLimit:
    """Limit on a tenant's sequences at one replica while other tenants are active. Not thread-safe.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._step_costs = StepCostModel()
        self._max_observed = 0
        self._last_observation = float("-inf")

    def observe_step(self, num_sequences: int, seconds: float) -> None:
        """Update the limit with the time between two tokens of a sequence.

        All sequences of a step observe the same step, so observations within half a step of the previous one are
        ignored.

        Args:
            num_sequences: sequences at the replica, at least 1.
            seconds: time between the tokens.
        """
        now = self._clock()
        if now - self._last_observation < seconds / 2:
            return
        self._last_observation = now
        self._max_observed = max(self._max_observed, num_sequences)
        self._step_costs.observe_step(0, num_sequences, seconds)

    @property
    def max_sequences(self) -> int:
        """Maximum number of sequences, at least 1."""
        explored_limit = max(INITIAL_LIMIT, GROWTH_FACTOR * self._max_observed)
        base, per_sequence = self._step_costs.base_seconds, self._step_costs.decode_token_seconds
        if explored_limit * per_sequence <= (MAX_SLOWDOWN - 1) * (base + per_sequence):
            return explored_limit
        return max(1, min(explored_limit, int(MAX_SLOWDOWN + (MAX_SLOWDOWN - 1) * base / per_sequence)))
