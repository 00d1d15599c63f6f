"""How much may be in a step that several tenants wait for. Knows no torch, and is told what steps took.

A tenant with few rows would wait for the rows of one with many at every token. So a step takes no longer than each of
its K tenants could expect if they took turns: three quarters of K times what its own part would take alone. Where a
step of many tokens takes hardly longer than one of few, as on an accelerator, that bounds nothing.

Whoever comes waits for the step that runs. So while other tenants come now and then, a step of those who are there
takes a few times what any step takes, and no longer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LONGEST = 3.0  # times what any step takes, while other tenants come
LEAST_SECONDS = 0.01  # that a step may always take
SHARE = 0.75  # of K times a tenant's own part
DECAY = 0.99  # what a step counts when the next one is seen: the last hundred or so decide
INERTIA = 1.0  # tokens squared: how much the sizes of steps must differ before what a token costs is believed to change


class StepBudget:
    """What a step costs, by least squares over the last ones: so much always, and more for each token.

    Attributes:
        base: seconds of any step.
        read: seconds more for each token that is read.
        write: seconds more for each token that is written.
    """

    def __init__(self) -> None:
        self.base = self.read = self.write = 0.0
        self._products: NDArray[np.float64] = np.zeros((3, 3))
        self._seconds: NDArray[np.float64] = np.zeros(3)

    def observe(self, read: int, written: int, seconds: float) -> None:
        """A step read and wrote so many tokens, and took so long."""
        sizes = np.array([1.0, read, written])
        self._products = DECAY * self._products + np.outer(sizes, sizes)
        self._seconds = DECAY * self._seconds + sizes * seconds
        inertia = np.diag([0.0, INERTIA, INERTIA])
        before = np.array([self.base, self.read, self.write])
        costs = np.linalg.solve(self._products + inertia, self._seconds + inertia @ before)
        self.base, self.read, self.write = (max(0.0, float(cost)) for cost in costs)

    def cost(self, read: int, written: int) -> float:
        """Seconds that so many tokens add to a step."""
        return self.read * read + self.write * written

    @property
    def longest(self) -> float | None:
        """Seconds that a step takes at most while other tenants come; None while nothing is known of steps."""
        return max(LONGEST * self.base, LEAST_SECONDS) if self.base else None

    def limit(self, wanted: Mapping[str, float], *, others_come: bool = False) -> float | None:
        """The most seconds that the tokens of a step may add to it; None for any number.

        Args:
            wanted: what those of each tenant would add.
            others_come: other tenants asked lately, and may come while it runs.
        """
        while_others_come = self.longest - self.base if others_come and self.longest is not None else None
        together = self._limit_together(wanted)
        return min((limit for limit in (together, while_others_come) if limit is not None), default=None)

    def _limit_together(self, wanted: Mapping[str, float]) -> float | None:
        """What tenants that are in a step at the same time leave one another; None for one alone."""
        tenants = len(wanted)
        if tenants < 2:
            return None
        least = min(wanted.values())
        few = SHARE * tenants * (self.base + least) - self.base  # as the tenant with the least waits
        equal = (SHARE * tenants - 1) * self.base / (1 - SHARE)  # as all of them wait, if all have as much
        return max(min(few, equal), 0.0)


def equal_shares(wanted: Mapping[str, float], total: float) -> dict[str, float]:
    """Divide a total equally; what somebody does not want goes to the others (max-min fairness)."""
    shares: dict[str, float] = {}
    for index, name in enumerate(sorted(wanted, key=wanted.__getitem__)):
        shares[name] = min(wanted[name], total / (len(wanted) - index))
        total -= shares[name]
    return shares
