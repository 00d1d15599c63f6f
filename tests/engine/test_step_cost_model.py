"""Estimated costs of steps, and time limits of steps that several tenants share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.step_cost_model import MAX_STEP_FACTOR, StepCostModel, divide_max_min


def fit_cost_model(base: float, prefill: float, decode: float) -> StepCostModel:
    """Fit a cost model to steps of several sizes."""
    model = StepCostModel()
    for _ in range(20):
        for sizes in ((0, 1), (40, 1), (7, 3), (130, 60), (0, 2), (5, 64)):
            model.observe_step(*sizes, base + prefill * sizes[0] + decode * sizes[1])
    return model


def test_step_costs_are_estimated_from_observed_steps() -> None:
    model = fit_cost_model(0.02, 0.001, 0.003)
    assert (model.base_seconds, model.prefill_token_seconds, model.decode_token_seconds) == pytest.approx(
        (0.02, 0.001, 0.003), rel=0.05
    )


def test_the_positions_that_tokens_read_are_a_cost_of_their_own() -> None:
    model = StepCostModel()
    for _ in range(20):
        for prefill, decode, positions in ((0, 1, 10), (0, 8, 9000), (4, 0, 4), (0, 9, 900), (16, 1, 1000), (0, 2, 20)):
            seconds = 0.02 + 0.001 * prefill + 0.0005 * decode + 4e-6 * positions
            model.observe_step(prefill, decode, seconds, num_positions=positions)
    assert (model.base_seconds, model.decode_token_seconds, model.position_seconds) == pytest.approx(
        (0.02, 0.0005, 4e-6), rel=0.05
    )
    assert model.estimate_seconds(0, 1, 1500) == pytest.approx(0.0065, rel=0.05)


def test_estimates_persist_while_all_steps_are_alike() -> None:
    model = fit_cost_model(0.02, 0.001, 0.003)
    for _ in range(2000):
        model.observe_step(0, 5, 0.035)
    assert model.decode_token_seconds == pytest.approx(0.003, rel=0.2)


@given(base=st.floats(0, 100), demands=st.lists(st.floats(0.1, 500), min_size=2, max_size=6))
def test_no_tenant_waits_longer_than_if_all_took_turns(base: float, demands: list[float]) -> None:
    model, by_tenant = StepCostModel(), {str(number): seconds for number, seconds in enumerate(demands)}
    model.base_seconds = base
    limit = model.compute_step_limit(by_tenant)
    assert limit is not None
    step = base + min(limit, sum(demands))
    for seconds in divide_max_min(by_tenant, limit).values():
        assert step <= len(demands) * (base + seconds) + 1e-6


def test_large_steps_without_extra_time_are_not_limited() -> None:
    model = fit_cost_model(0.015, 0.0, 1e-6)
    limit = model.compute_step_limit({"a": model.estimate_seconds(0, 1), "b": model.estimate_seconds(1000, 64)})
    assert limit is not None
    assert limit > model.estimate_seconds(1000, 65)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 3, 3, 3)])
def test_tokens_have_no_cost_before_steps_differ(sizes: tuple[int, ...]) -> None:
    model = StepCostModel()
    for size in sizes:
        model.observe_step(0, size, 1.0)
    assert model.estimate_seconds(100, 50) < model.base_seconds or not sizes


def test_steps_of_a_single_tenant_are_not_limited() -> None:
    assert fit_cost_model(1.0, 1.0, 1.0).compute_step_limit({"a": 500.0}) is None


def test_unused_shares_are_divided_among_other_tenants() -> None:
    assert divide_max_min({"a": 1.0, "b": 50.0, "c": 60.0}, 41.0) == {"a": 1.0, "b": 20.0, "c": 20.0}


def test_steps_are_limited_while_other_tenants_are_active() -> None:
    model = fit_cost_model(0.02, 0.001, 0.003)
    limit = model.compute_step_limit({"a": 500.0}, others_active=True)
    assert limit == pytest.approx((MAX_STEP_FACTOR - 1) * model.base_seconds)
    assert limit is not None
    assert model.compute_step_limit({"a": 500.0, "b": 400.0}, others_active=True) <= limit
    assert model.compute_step_limit({"a": 500.0}) is None


def test_steps_are_not_limited_before_the_first_observation() -> None:
    assert StepCostModel().compute_step_limit({"a": 500.0}, others_active=True) is None
