"""The tokens of a forward pass are limited by its duration."""

from __future__ import annotations

import pytest

from softprompt.server.concurrency.pass_size_estimator import MIN_PASS_TOKENS, PassSizeEstimator


def test_a_pass_without_a_time_limit_may_have_the_maximum_of_tokens() -> None:
    size = PassSizeEstimator(256)
    assert size.get_max_tokens(None) == 256
    size.observe_pass(256, 1.0)
    assert size.get_max_tokens(None) == 256


@pytest.mark.parametrize("overhead", [0.0, 0.01])
def test_the_duration_of_passes_converges_to_the_time_limit(overhead: float) -> None:
    size = PassSizeEstimator(256)
    for _ in range(40):
        tokens = size.get_max_tokens(0.1)
        size.observe_pass(tokens, overhead + tokens * 0.002)
    assert overhead + tokens * 0.002 == pytest.approx(0.1, rel=0.1)


def test_slow_passes_still_have_the_minimum_of_tokens() -> None:
    size = PassSizeEstimator(256)
    size.observe_pass(256, 100.0)
    assert size.get_max_tokens(0.01) == MIN_PASS_TOKENS
    small = PassSizeEstimator(4)
    small.observe_pass(4, 100.0)
    assert small.get_max_tokens(0.01) == 4
