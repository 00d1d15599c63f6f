"""How many tokens a pass beside the engine's steps has: as many as it takes, or fewer while other tenants come."""

from __future__ import annotations

LEAST = 16  # tokens: fewer cost as much
NEW = 0.25  # what the last pass counts beside those before


class PassSize:
    """Learns how many tokens of a kind of pass go through the model in a second.

    Args:
        most: tokens of a pass.
    """

    def __init__(self, most: int):
        self._most = most
        self._rate: float | None = None  # tokens a second

    def tokens(self, seconds: float | None) -> int:
        """Tokens of a pass that should take no longer; of any pass where `seconds` is None."""
        if seconds is None or self._rate is None:
            return self._most
        return max(min(LEAST, self._most), min(self._most, int(self._rate * seconds)))

    def observe(self, tokens: int, seconds: float) -> None:
        """A pass of so many tokens took so long."""
        rate = tokens / max(seconds, 1e-6)
        self._rate = rate if self._rate is None else (1 - NEW) * self._rate + NEW * rate
