"""Assignment of prompts to replicas by consistent hashing. Pure functions of names and numbers.

Replicas and prompts are points on a ring, and a prompt belongs to the next replica (consistent hashing: Karger et al.
1997). So only the prompts of a replica move when it joins or leaves. No replica gets more than 1.25 times its share:
the rest goes to the next one (bounded loads: Mirrokni, Thorup and Zadimoghaddam 2018, arXiv 1608.01350).
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VIRTUAL_NODES = 128  # points of a replica on the ring: more points make the shares more equal
LOAD_FACTOR = 1.25  # maximum load relative to the mean: the paper's 1 + ε
MIN_CAPACITY = 8  # sequences that a replica takes regardless of the mean: they cost little, and its caches are warm


@dataclass(frozen=True)
class HashRing:
    """A hash ring of replicas.

    Attributes:
        points: positions in ascending order, each with the name of its replica.
    """

    points: tuple[tuple[int, str], ...]

    @classmethod
    def from_names(cls, names: Sequence[str]) -> HashRing:
        """Create the ring of replicas with these names."""
        return cls(tuple(sorted((_hash_position(f"{name} {i}"), name) for name in names for i in range(VIRTUAL_NODES))))

    def rank_replicas(self, key: str) -> list[str]:
        """Return all replicas in the order in which they follow a key on the ring."""
        first = bisect(self.points, (_hash_position(key), ""))
        return list(dict.fromkeys(name for _, name in (*self.points[first:], *self.points[:first])))


def pick_replica(candidates: Sequence[str], loads: Mapping[str, int]) -> str | None:
    """Return the first candidate below its maximum load, else the least loaded one; None without candidates.

    Args:
        candidates: names of replicas in order of preference.
        loads: running sequences of each healthy replica.
    """
    max_load = math.ceil(LOAD_FACTOR * (sum(loads.values()) + 1) / max(1, len(loads)))
    free = [name for name in candidates if loads[name] < max(max_load, MIN_CAPACITY)]
    return free[0] if free else min(candidates, key=loads.__getitem__, default=None)


def _hash_position(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
