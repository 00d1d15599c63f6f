"""Passes are as large as the time that they may take."""

from __future__ import annotations

import pytest

from softprompt.server.concurrency.pass_size_estimator import MIN_PASS_TOKENS, PassSizeEstimator


def test_a_pass_has_all_tokens_without_other_tenants() -> None:
    size = PassSizeEstimator(256)
    assert size.get_max_tokens(None) == 256
    size.observe_pass(256, 1.0)
    assert size.get_max_tokens(None) == 256


@pytest.mark.parametrize("overhead", [0.0, 0.01])
def test_passes_come_to_take_the_time_that_they_may(overhead: float) -> None:
    size = PassSizeEstimator(256)
    for _ in range(40):
        tokens = size.get_max_tokens(0.1)
        size.observe_pass(tokens, overhead + tokens * 0.002)
    assert overhead + tokens * 0.002 == pytest.approx(0.1, rel=0.1)


def test_a_pass_has_some_tokens_however_long_it_takes() -> None:
    size = PassSizeEstimator(256)
    size.observe_pass(256, 100.0)
    assert size.get_max_tokens(0.01) == MIN_PASS_TOKENS
    small = PassSizeEstimator(4)
    small.observe_pass(4, 100.0)
    assert small.get_max_tokens(0.01) == 4
