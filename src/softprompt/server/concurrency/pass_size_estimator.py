"""Sizes of forward passes between engine steps: limited by time while other tenants have requests."""

from __future__ import annotations

MIN_PASS_TOKENS = 16  # fewer tokens cost as much
SMOOTHING = 0.25  # weight of the last pass in the moving average


class PassSizeEstimator:
    """An estimator of the tokens per second of one kind of forward pass.

    Args:
        max_tokens: maximum tokens of a pass.
    """

    def __init__(self, max_tokens: int):
        self._max_tokens = max_tokens
        self._rate: float | None = None  # tokens per second

    def get_max_tokens(self, seconds: float | None) -> int:
        """Return the maximum tokens of a pass within `seconds`; the overall maximum if `seconds` is None."""
        if seconds is None or self._rate is None:
            return self._max_tokens
        return max(min(MIN_PASS_TOKENS, self._max_tokens), min(self._max_tokens, int(self._rate * seconds)))

    def observe_pass(self, tokens: int, seconds: float) -> None:
        """Record the tokens and the duration of a pass."""
        rate = tokens / max(seconds, 1e-6)
        self._rate = rate if self._rate is None else (1 - SMOOTHING) * self._rate + SMOOTHING * rate
