"""Length buckets: which sequences share a forward pass, within its limits of tokens and padding."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from softprompt.model import ForwardBudget, FrozenModel
from softprompt.tasks.length_buckets import bucket_by_length, fits_one_pass
from tests.tiny import shared_model

DEAR = 10**9


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FrozenModel:
    """Model whose forward budget tests may replace."""
    model = shared_model("llama")
    monkeypatch.setattr(type(model), "forward_budget", ForwardBudget(DEAR, DEAR))
    return model


@given(
    lengths=st.lists(st.integers(1, 50), max_size=12),
    most=st.none() | st.integers(1, 9),
    tokens=st.integers(1, 200),
    cost=st.integers(0, 60),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_buckets_cover_all_examples_with_little_padding(
    model: FrozenModel, lengths: list[int], most: int | None, tokens: int, cost: int
) -> None:
    type(model).forward_budget = ForwardBudget(overhead=cost, max_tokens=tokens)  # type: ignore[assignment]
    passes = bucket_by_length(lengths, model, most)
    assert sorted(row for each in passes for row in each) == list(range(len(lengths)))
    for each in passes:
        longest = max(lengths[row] for row in each)
        assert most is None or len(each) <= most
        assert len(each) == 1 or len(each) * longest <= tokens
        assert sum(longest - lengths[row] for row in each) <= cost


def test_buckets_are_as_few_as_possible_if_forward_passes_are_expensive(model: FrozenModel) -> None:
    assert len(bucket_by_length([1, 50, 2, 49, 3, 48, 4], model, 3)) == 3
    assert len(bucket_by_length([1, 50, 2, 49, 3, 48, 4], model)) == 1


@pytest.mark.parametrize(
    ("num_sequences", "length", "padding", "expected"),
    [(4, 25, 10, True), (4, 26, 0, False), (1, 25, 11, False), (1, 100, 0, True)],
)
def test_forward_pass_is_limited_in_tokens_and_in_padding(
    num_sequences: int, length: int, padding: int, expected: bool
) -> None:
    assert fits_one_pass(ForwardBudget(10, 100), num_sequences, length, padding) == expected
