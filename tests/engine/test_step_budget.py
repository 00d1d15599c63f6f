"""How much may be in a step that several tenants wait for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.step_budget import LONGEST, StepBudget, equal_shares


def budget(base: float, read: float, write: float) -> StepBudget:
    """What is known once steps of several sizes were seen."""
    made = StepBudget()
    for _ in range(20):
        for sizes in ((0, 1), (40, 1), (7, 3), (130, 60), (0, 2), (5, 64)):
            made.observe(*sizes, base + read * sizes[0] + write * sizes[1])
    return made


def test_what_steps_cost_is_found() -> None:
    made = budget(0.02, 0.001, 0.003)
    assert (made.base, made.read, made.write) == pytest.approx((0.02, 0.001, 0.003), rel=0.05)


def test_what_is_known_stays_while_steps_are_all_alike() -> None:
    made = budget(0.02, 0.001, 0.003)
    for _ in range(2000):
        made.observe(0, 5, 0.035)
    assert made.write == pytest.approx(0.003, rel=0.2)


@given(base=st.floats(0, 100), wanted=st.lists(st.floats(0.1, 500), min_size=2, max_size=6))
def test_nobody_waits_longer_than_if_all_took_turns(base: float, wanted: list[float]) -> None:
    made, by_tenant = StepBudget(), {str(number): seconds for number, seconds in enumerate(wanted)}
    made.base = base
    limit = made.limit(by_tenant)
    assert limit is not None
    step = base + min(limit, sum(wanted))
    for seconds in equal_shares(by_tenant, limit).values():
        assert step <= len(wanted) * (base + seconds) + 1e-6


def test_a_step_of_many_tokens_that_takes_no_longer_is_not_bounded() -> None:
    made = budget(0.015, 0.0, 1e-6)
    limit = made.limit({"a": made.cost(0, 1), "b": made.cost(1000, 64)})
    assert limit is not None
    assert limit > made.cost(1000, 65)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 3, 3, 3)])
def test_while_nothing_is_known_nothing_costs_more(sizes: tuple[int, ...]) -> None:
    made = StepBudget()
    for size in sizes:
        made.observe(0, size, 1.0)
    assert made.cost(100, 50) < made.base or not sizes


def test_a_tenant_alone_is_never_bounded() -> None:
    assert budget(1.0, 1.0, 1.0).limit({"a": 500.0}) is None


def test_what_somebody_does_not_want_goes_to_the_others() -> None:
    assert equal_shares({"a": 1.0, "b": 50.0, "c": 60.0}, 41.0) == {"a": 1.0, "b": 20.0, "c": 20.0}


def test_a_step_takes_a_few_times_any_steps_while_other_tenants_come() -> None:
    made = budget(0.02, 0.001, 0.003)
    limit = made.limit({"a": 500.0}, others_come=True)
    assert limit == pytest.approx((LONGEST - 1) * made.base)
    assert limit is not None
    assert made.limit({"a": 500.0, "b": 400.0}, others_come=True) <= limit
    assert made.limit({"a": 500.0}) is None


def test_a_step_is_not_bounded_while_nothing_is_known_of_steps() -> None:
    assert StepBudget().limit({"a": 500.0}, others_come=True) is None
