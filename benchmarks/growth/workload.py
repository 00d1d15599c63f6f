"""A workload whose size can be chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ScalingWorkload:
    """A piece of work that is timed at several sizes.

    Attributes:
        name: what it does, and of what there are `size`, such as "list prompts".
        sizes: growing; the largest is what a user may really have.
        prepare: from a size, the work itself; what `prepare` does is not timed. Both run in a process of their own,
            which ends behind them.
        unit: what there are `size` of, such as "prompts".
        is_bounded: the work has a limit, so its cost may grow by any exponent up to there and stays the same beyond.
    """

    name: str
    sizes: tuple[int, ...]
    prepare: Callable[[int], Callable[[], object]]
    unit: str
    is_bounded: bool = False
