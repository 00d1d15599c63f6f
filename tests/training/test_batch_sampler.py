"""Batches as a function of the seed and the step."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from softprompt.training.batch_sampler import BUCKET_STEPS, BatchSampler


@given(total=st.integers(1, 60), per_step=st.integers(1, 20), seed=st.integers(0, 5))
def test_every_example_is_sampled_equally_often(total: int, per_step: int, seed: int) -> None:
    sampler = BatchSampler([1] * total, per_step, seed)
    counts = Counter(i for step in range(2 * BUCKET_STEPS) for i in sampler.get_batch(step))
    assert set(counts) <= set(range(total))
    assert max(counts.values()) - min(counts.get(i, 0) for i in range(total)) <= 1


@given(per_step=st.integers(1, 6), seed=st.integers(0, 5), step=st.integers(0, 40))
def test_batch_is_a_function_of_seed_and_step(per_step: int, seed: int, step: int) -> None:
    lengths = [(7 * i) % 11 for i in range(23)]
    assert BatchSampler(lengths, per_step, seed).get_batch(step) == BatchSampler(lengths, per_step, seed).get_batch(
        step
    )


def test_seeds_give_different_batches() -> None:
    lengths = list(range(40))
    assert BatchSampler(lengths, 4, 0).get_batch(0) != BatchSampler(lengths, 4, 1).get_batch(0)


def test_examples_of_a_batch_have_similar_lengths() -> None:
    lengths = [(37 * i) % 101 for i in range(400)]
    spreads = []
    for step in range(BUCKET_STEPS):
        batch_lengths = [lengths[i] for i in BatchSampler(lengths, 16, 0).get_batch(step)]
        assert len(batch_lengths) == 16
        spreads.append(max(batch_lengths) - min(batch_lengths))
    assert max(spreads) < 40  # of 100; sixteen drawn at random would spread over nearly all


def test_batches_are_not_ordered_by_length() -> None:
    lengths = list(range(64))
    means = [sum(BatchSampler(lengths, 8, 0).get_batch(step)) / 8 for step in range(BUCKET_STEPS)]
    assert means != sorted(means)
