"""How much may be in a step that several tenants wait for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.step_budget import StepBudget, equal_shares


def budget(base: float, each: float) -> StepBudget:
    """What is known once steps of several sizes were seen."""
    made = StepBudget()
    for size in (2, 40, 7, 130, 2, 64):
        made.observe(float(size), base + each * size)
    return made


@given(base=st.floats(0, 100), each=st.floats(0.01, 10), wanted=st.lists(st.integers(1, 500), min_size=2, max_size=6))
def test_nobody_waits_longer_than_if_all_took_turns(base: float, each: float, wanted: list[int]) -> None:
    by_tenant = {str(number): float(units) for number, units in enumerate(wanted)}
    limit = budget(base, each).limit(by_tenant)
    assert limit is not None
    step = base + each * min(limit, sum(wanted))
    for units in equal_shares(by_tenant, limit).values():
        assert step <= len(wanted) * (base + each * units) + 1e-6


def test_a_step_of_many_tokens_that_takes_no_longer_is_not_bounded() -> None:
    assert budget(0.015, 0.0).limit({"a": 2.0, "b": 1000.0}) is None
    limit = budget(0.015, 1e-6).limit({"a": 2.0, "b": 1000.0})
    assert limit is not None
    assert limit > 5000


@pytest.mark.parametrize("sizes", [(), (3,), (3, 3, 3, 3)])
def test_while_nothing_is_known_nothing_is_bounded(sizes: tuple[int, ...]) -> None:
    made = StepBudget()
    for size in sizes:
        made.observe(float(size), 1.0)
    assert made.limit({"a": 1.0, "b": 50.0}) is None


def test_a_tenant_alone_is_never_bounded() -> None:
    assert budget(1.0, 1.0).limit({"a": 500.0}) is None


def test_what_somebody_does_not_want_goes_to_the_others() -> None:
    assert equal_shares({"a": 1.0, "b": 50.0, "c": 60.0}, 41.0) == {"a": 1.0, "b": 20.0, "c": 20.0}
