"""The next token of each row: as a naive sampler chooses it, and with numbers that are none."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from softprompt.engine import End, Request, Sampling
from softprompt.engine.mask_pool import MaskPool
from softprompt.engine.penalties import build_penalties
from softprompt.engine.row_state import RowState
from softprompt.engine.running import Running
from softprompt.engine.sampler import choose_tokens
from tests.engine.test_drawing import draw_naively

V = 40
POOL = MaskPool(1)


def adjust_naively(logits: Tensor, sampling: Sampling, ids: list[int], written: list[int]) -> Tensor:
    """As it was first written: token by token."""
    logits = logits.clone()
    if sampling.repetition_penalty != 1:
        seen = torch.tensor(sorted({token for token in [*ids, *written] if token >= 0}), dtype=torch.long)
        some = logits[seen]
        logits[seen] = torch.where(some > 0, some / sampling.repetition_penalty, some * sampling.repetition_penalty)
    for token, count in Counter(written).items():
        logits[token] -= sampling.presence_penalty + sampling.frequency_penalty * count
    for token, bias in sampling.logit_bias.items():
        logits[token] += bias
    return logits


def choose_naively(logits: Tensor, sampling: Sampling, ids: list[int], written: list[int]) -> int:
    adjusted = adjust_naively(logits, sampling, ids, written)
    if sampling.is_greedy:
        return int(adjusted.argmax())
    probabilities = (adjusted.double() / sampling.temperature).softmax(dim=-1)
    return draw_naively(probabilities, sampling, random.Random(f"{sampling.seed} {len(written)}").random())


PENALTIES = st.sampled_from([0.0, 0.0, 0.3, -1.5, 1e9])


FIELDS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 1e-310, 1e-5, 1.1e-5, 0.7, 2.0]),
        "presence_penalty": PENALTIES,
        "frequency_penalty": PENALTIES,
        "repetition_penalty": st.sampled_from([1.0, 1.3, 0.01, 100.0]),
        "logit_bias": st.dictionaries(st.integers(0, V - 1), st.sampled_from([3.0, -100.0, 1e30]), max_size=3),
        "seed": st.integers(0, 99),
    }
)


def run(sampling: Sampling, written: list[int], states: list[RowState], logits: Tensor) -> list[int | None]:
    rows = []
    for _ in states:
        rows.append(Running(Request((3, -1, 5), sampling)))
        rows[-1].known += written
    return [choice.token for choice in choose_tokens(logits, rows, states)]


def state_of(sampling: Sampling, written: list[int]) -> RowState:
    return RowState(Request((3, -1, 5), sampling), lambda _: "", V, POOL, written)


@given(fields=FIELDS, seed=st.integers(0, 2**32))
def test_tokens_are_those_of_a_naive_sampler(fields: dict[str, Any], seed: int) -> None:
    """Beside another row as alone, and with a state that is built anew at every step."""
    sampling = Sampling(**fields)
    generator = torch.Generator().manual_seed(seed)
    kept, written = state_of(sampling, []), list[int]()
    for _ in range(6):
        logits = torch.randn(2, V, generator=generator)
        expected = choose_naively(logits[1], sampling, [3, -1, 5], written)
        other = state_of(sampling, [])
        assert run(sampling, written, [other, kept], logits)[1] == expected
        assert run(sampling, written, [state_of(sampling, written)], logits[1:]) == [expected]
        kept.take(expected)
        written.append(expected)


def test_a_row_without_penalties_keeps_no_counts() -> None:
    assert build_penalties(Request((3, 5), Sampling(temperature=1.0)), [1, 2, 3]) is None


class Once(list[int]):
    """Tokens that may be looked through once."""

    looks = 0

    def __iter__(self) -> Iterator[int]:
        self.looks += 1
        assert self.looks <= 1
        return super().__iter__()


def test_what_was_written_is_counted_once() -> None:
    state = RowState(Request((3,), Sampling(frequency_penalty=1.0)), lambda _: "", V, POOL)
    assert state.penalties is not None
    state.penalties.add(Once([1, 1, 2]))
    for _ in range(3):
        assert state.penalties.apply(torch.zeros(V))[:3].tolist() == [0.0, -2.0, -1.0]


NONE = (float("nan"), float("inf"), float("-inf"))


@pytest.mark.parametrize("value", NONE)
@pytest.mark.parametrize("more", [{}, {"temperature": 1.0}, {"logprobs": 3}, {"logit_bias": {7: 3.0}}])
def test_a_row_whose_logits_are_not_finite_ends_alone(value: float, more: dict[str, Any]) -> None:
    logits = torch.randn(3, V, generator=torch.Generator().manual_seed(0))
    whole, sampling = logits.clone(), Sampling(**more)
    logits[1, 5] = value
    rows, states = [Running(Request((3,), sampling)) for _ in range(3)], [state_of(sampling, []) for _ in range(3)]
    choices, alone = choose_tokens(logits, rows, states), choose_tokens(whole, rows, states)
    assert (choices[1].token, choices[1].end) == (None, End.OVERFLOW)
    assert [choices[0], choices[2]] == [alone[0], alone[2]]


def test_large_logits_are_finite() -> None:
    """Though their sum is not."""
    logits = torch.full((1, V), 3e38)
    logits[0, 7] = 3.3e38
    state = state_of(Sampling(), [])
    assert choose_tokens(logits, [Running(Request((3,), Sampling()))], [state])[0].token == 7
