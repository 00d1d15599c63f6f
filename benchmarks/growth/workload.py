"""A workload whose size can be chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ScalingWorkload:
    """A workload that is measured at several sizes.

    Attributes:
        name: the work and its units, such as "list prompts".
        sizes: increasing sizes; the largest is realistic for a user.
        prepare: returns the work for a size, without being measured. Both run in a process of their own.
        unit: unit of the size, such as "prompts".
        is_bounded: whether the cost is constant beyond some size, so that its exponent is meaningless.
    """

    name: str
    sizes: tuple[int, ...]
    prepare: Callable[[int], Callable[[], object]]
    unit: str
    is_bounded: bool = False
