"""Which examples each step sees."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from softprompt.training.order import POOLED_STEPS, Order


@given(total=st.integers(1, 60), per_step=st.integers(1, 20), seed=st.integers(0, 5))
def test_every_example_comes_equally_often(total: int, per_step: int, seed: int) -> None:
    order = Order([1] * total, per_step, seed)
    seen = Counter(i for step in range(2 * POOLED_STEPS) for i in order.step(step))
    assert set(seen) <= set(range(total))
    assert max(seen.values()) - min(seen.get(i, 0) for i in range(total)) <= 1


@given(per_step=st.integers(1, 6), seed=st.integers(0, 5), step=st.integers(0, 40))
def test_a_step_is_a_function_of_the_seed_and_its_number(per_step: int, seed: int, step: int) -> None:
    lengths = [(7 * i) % 11 for i in range(23)]
    assert Order(lengths, per_step, seed).step(step) == Order(lengths, per_step, seed).step(step)


def test_seeds_differ() -> None:
    lengths = list(range(40))
    assert Order(lengths, 4, 0).step(0) != Order(lengths, 4, 1).step(0)


def test_a_steps_examples_are_of_like_length() -> None:
    lengths = [(37 * i) % 101 for i in range(400)]
    spreads = []
    for step in range(POOLED_STEPS):
        found = [lengths[i] for i in Order(lengths, 16, 0).step(step)]
        assert len(found) == 16
        spreads.append(max(found) - min(found))
    assert max(spreads) < 40  # of 100; sixteen drawn at random would spread over nearly all


def test_the_long_do_not_come_last() -> None:
    lengths = list(range(64))
    means = [sum(Order(lengths, 8, 0).step(step)) / 8 for step in range(POOLED_STEPS)]
    assert means != sorted(means)
