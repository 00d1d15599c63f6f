"""How much each tenant has been served, for who is served next. Knows no torch.

These are virtual token counters (Sheng et al. 2023, arXiv 2401.00588). Tenants are many and most of them are away, so
only those are kept that something depends on: whoever is there, and whoever was served more than they.
"""

from __future__ import annotations

from collections.abc import Collection

ABSENT = 1024  # tenants that are away and were served more than those who are there: so many are remembered


class TokenCounters:
    """Weighted tokens that each tenant was served, comparable among those who are there.

    Args:
        absent: how many tenants to remember that are away. Beyond them, those are forgotten that owe least.
    """

    def __init__(self, absent: int = ABSENT):
        self._absent = absent
        self._counts: dict[str, float] = {}

    def __len__(self) -> int:
        """Of how many tenants there is a count."""
        return len(self._counts)

    def __getitem__(self, tenant: str) -> float:
        """What a tenant was served; 0 of one that is not known."""
        return self._counts.get(tenant, 0.0)

    def add(self, tenant: str, tokens: float) -> None:
        """A tenant was served so much."""
        self._counts[tenant] = self[tenant] + tokens

    def join(self, tenant: str, present: Collection[str]) -> None:
        """Let a tenant come among those who are there. It has saved nothing up: it begins where the least served is."""
        self._counts[tenant] = max(self[tenant], self._least(present))

    def forget(self, present: Collection[str]) -> None:
        """Forget tenants that are away, once they are many.

        One that was served no more than the least served of those who are there would begin where that one is, known or
        not. The others owe what they were served more.
        """
        if len(self._counts) <= len(present) + 2 * self._absent:  # so that each call costs little on average
            return
        least = self._least(present)
        owing = [each for each, count in self._counts.items() if each not in present and count > least]
        kept = [*present, *sorted(owing, key=self.__getitem__, reverse=True)[: self._absent]]
        self._counts = {each: self[each] for each in kept}

    def clear(self) -> None:
        """Forget all of them: nobody is there to be fair to."""
        self._counts.clear()

    def _least(self, present: Collection[str]) -> float:
        return min(map(self.__getitem__, present), default=0.0)
