"""Which replica a prompt belongs to. Pure: it knows names and numbers alone.

Replicas and prompts have places on a circle, and a prompt belongs to the replica that comes next (consistent hashing:
Karger et al. 1997), so that when one goes or comes only its own prompts move. None takes more than its share and a
quarter: what is beyond goes on to the next (bounded loads: Mirrokni, Thorup and Zadimoghaddam 2018, arXiv 1608.01350).
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PLACES = 128  # of a replica on the circle: with more of them, shares differ less
SHARE = 1.25  # of the mean load: the paper's 1 + ε
FEW = 8  # responses that a replica may always write at once: so few cost it nothing, and the prompt is warm there


@dataclass(frozen=True)
class Ring:
    """The circle.

    Attributes:
        places: in order, each with the replica that is there.
    """

    places: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, names: Sequence[str]) -> Ring:
        """The circle of replicas with these names."""
        return cls(tuple(sorted((_place(f"{name} {i}"), name) for name in names for i in range(PLACES))))

    def order(self, key: str) -> list[str]:
        """All replicas, in the order in which they come behind the place of a key."""
        first = bisect(self.places, (_place(key), ""))
        return list(dict.fromkeys(name for _, name in (*self.places[first:], *self.places[:first])))


def chosen(order: Sequence[str], loads: Mapping[str, int]) -> str | None:
    """The first replica that has room for one more; None if there is none at all.

    Args:
        order: of those that may be chosen.
        loads: what each usable replica has to do now; all of them share it.
    """
    share = math.ceil(SHARE * (sum(loads.values()) + 1) / max(1, len(loads)))
    free = [name for name in order if loads[name] < max(share, FEW)]
    return free[0] if free else min(order, key=loads.__getitem__, default=None)


def _place(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
