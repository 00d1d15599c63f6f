"""Cost model of steps, and the time limit of a step that several tenants share. Imports no torch.

A tenant with few sequences would wait for a tenant with many at every token. So a step takes no longer than each of its
K tenants could expect if they took turns: three quarters of K times the time of its own part alone. If a step of
many tokens takes hardly longer than one of few, as on an accelerator, this bounds nothing.

A token late in a long sequence costs more than an early one, since it reads the keys and values of all positions before
it. With one cost for all decoded tokens, a tenant with a short sequence would be granted the step of a long one.

A new request waits for the step that runs. While other tenants send requests now and then, a step therefore takes at
most a few times the fixed cost of a step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

MAX_STEP_FACTOR = 3.0  # limit while other tenants are active, in multiples of a step's fixed cost
MIN_STEP_S = 0.01  # a step may always take this long
FAIR_STEP_FRACTION = 0.75  # of K times the time of a tenant's own part
OBSERVATION_DECAY = 0.99  # weight of a step at the next one: about the last hundred count
# In tokens squared, or units of positions squared: how much steps must vary before the costs change.
RIDGE_PENALTY = 1.0
POSITION_UNIT = 10_000  # the cost of a position changes only with steps of long sequences


class StepCostModel:
    """Linear model of the time of a step, fitted by least squares over recent steps.

    Attributes:
        base_seconds: fixed cost of a step.
        prefill_token_seconds: additional seconds for each prefilled token.
        decode_token_seconds: additional seconds for each decoded token.
        position_seconds: additional seconds for each position whose keys and values a sequence reads.
    """

    def __init__(self) -> None:
        self.base_seconds = self.prefill_token_seconds = self.decode_token_seconds = self.position_seconds = 0.0
        self._gram_matrix: NDArray[np.float64] = np.zeros((4, 4))
        self._weighted_seconds: NDArray[np.float64] = np.zeros(4)

    def observe_step(
        self, num_prefill_tokens: int, num_decode_tokens: int, seconds: float, *, num_positions: int = 0
    ) -> None:
        """Update the model with the size and duration of a step."""
        sizes = np.array([1.0, num_prefill_tokens, num_decode_tokens, num_positions / POSITION_UNIT])
        self._gram_matrix = OBSERVATION_DECAY * self._gram_matrix + np.outer(sizes, sizes)
        self._weighted_seconds = OBSERVATION_DECAY * self._weighted_seconds + sizes * seconds
        ridge = np.diag([0.0, RIDGE_PENALTY, RIDGE_PENALTY, RIDGE_PENALTY])
        previous = np.array(
            [
                self.base_seconds,
                self.prefill_token_seconds,
                self.decode_token_seconds,
                self.position_seconds * POSITION_UNIT,
            ]
        )
        costs = np.linalg.solve(self._gram_matrix + ridge, self._weighted_seconds + ridge @ previous)
        self.base_seconds, self.prefill_token_seconds, self.decode_token_seconds, unit_seconds = (
            max(0.0, float(cost)) for cost in costs
        )
        self.position_seconds = unit_seconds / POSITION_UNIT

    def estimate_seconds(self, num_prefill_tokens: int, num_decode_tokens: int, num_positions: int = 0) -> float:
        """Return the seconds that tokens, which read keys and values of positions, add to a step."""
        return (
            self.prefill_token_seconds * num_prefill_tokens
            + self.decode_token_seconds * num_decode_tokens
            + self.position_seconds * num_positions
        )

    @property
    def max_step_seconds(self) -> float | None:
        """Maximum duration of a step while other tenants are active; None before the first observation."""
        return max(MAX_STEP_FACTOR * self.base_seconds, MIN_STEP_S) if self.base_seconds else None

    def compute_step_limit(
        self, seconds_by_tenant: Mapping[str, float], *, others_active: bool = False
    ) -> float | None:
        """Return the maximum time, in seconds, that tokens may add to a step; None for no limit.

        Args:
            seconds_by_tenant: seconds that the tokens of each tenant would add.
            others_active: whether other tenants sent requests recently, and may send one during the step.
        """
        active_limit = (
            self.max_step_seconds - self.base_seconds if others_active and self.max_step_seconds is not None else None
        )
        shared_limit = self._limit_shared_step(seconds_by_tenant)
        return min((limit for limit in (shared_limit, active_limit) if limit is not None), default=None)

    def _limit_shared_step(self, seconds_by_tenant: Mapping[str, float]) -> float | None:
        """Return the limit for the tenants that share a step; None for a single tenant."""
        num_tenants = len(seconds_by_tenant)
        if num_tenants < 2:
            return None
        least = min(seconds_by_tenant.values())
        # The first limit bounds the wait of the tenant with the smallest part; the second one the wait of all tenants,
        # if their parts are equal.
        smallest_limit = FAIR_STEP_FRACTION * num_tenants * (self.base_seconds + least) - self.base_seconds
        equal_limit = (FAIR_STEP_FRACTION * num_tenants - 1) * self.base_seconds / (1 - FAIR_STEP_FRACTION)
        return max(min(smallest_limit, equal_limit), 0.0)


def divide_max_min(demands: Mapping[str, float], total: float) -> dict[str, float]:
    """Divide a total equally; what exceeds a demand goes to the others (max-min fairness)."""
    shares: dict[str, float] = {}
    for index, name in enumerate(sorted(demands, key=demands.__getitem__)):
        shares[name] = min(demands[name], total / (len(demands) - index))
        total -= shares[name]
    return shares
