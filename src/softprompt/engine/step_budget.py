"""How much may be in a step that several tenants wait for. Knows no torch, and is told what steps took.

A tenant with few rows would wait for the rows of one with many at every token. So a step takes no longer than each of
its K tenants could expect if they took turns: three quarters of K times what its own part would take alone. Where a
step of many tokens takes hardly longer than one of few, as on an accelerator, that bounds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

SHARE = 0.75  # of K times a tenant's own part
DECAY = 0.97  # what a step counts when the next one is seen: the last thirty or so decide
LEAST_SPREAD = 0.5  # variance of the sizes of steps below which they tell nothing of what size costs


class StepBudget:
    """A line through what steps took: so many seconds whatever is in them, and so many more for each unit of work.

    A token that is read is one unit; see `scheduler.WRITTEN` for one that is written.
    """

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def observe(self, units: float, seconds: float) -> None:
        """A step of so many units took so long."""
        for name, value in (("weight", 1.0), ("x", units), ("y", seconds), ("xx", units**2), ("xy", units * seconds)):
            setattr(self, f"_{name}", DECAY * getattr(self, f"_{name}") + value)

    def free_units(self) -> float | None:
        """For how many units a step takes twice as long as for none; None while nothing is known, or they are free."""
        if not self._weight:
            return None
        x, y = self._x / self._weight, self._y / self._weight
        spread = self._xx / self._weight - x * x
        slope = (self._xy / self._weight - x * y) / spread if spread >= LEAST_SPREAD else 0.0
        return max(0.0, y - slope * x) / slope if slope > 0 else None

    def limit(self, wanted: Mapping[str, float]) -> float | None:
        """The most units of a step, by what each tenant would have in it; None for any number."""
        free, tenants = self.free_units(), len(wanted)
        if free is None or tenants < 2:
            return None
        least = min(wanted.values())
        few = SHARE * tenants * (free + least) - free  # as the tenant with the least waits
        equal = (SHARE * tenants - 1) * free / (1 - SHARE)  # as all of them wait, if all have as much
        return max(min(few, equal), 0.0)


def equal_shares(wanted: Mapping[str, float], total: float) -> dict[str, float]:
    """Divide a total equally; what somebody does not want goes to the others (max-min fairness)."""
    shares: dict[str, float] = {}
    for index, name in enumerate(sorted(wanted, key=wanted.__getitem__)):
        shares[name] = min(wanted[name], total / (len(wanted) - index))
        total -= shares[name]
    return shares
