"""Sampling of the next token, compared with a naive sampler and with non-finite logits."""

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
from torch.utils._python_dispatch import TorchDispatchMode

from softprompt.sampling import FinishReason, SampledToken, SamplingParams
from softprompt.sampling.deferred_detokenizer import DeferredDetokenizer
from softprompt.sampling.output_state import OutputState
from softprompt.sampling.token_sampler import sample_tokens
from tests.sampling.test_token_draw import draw_naively

V = 40


def adjust_naively(logits: Tensor, sampling: SamplingParams, prompt_ids: list[int], output_ids: list[int]) -> Tensor:
    """Return the adjusted logits, computed token by token."""
    logits = logits.clone()
    if sampling.repetition_penalty != 1:
        seen = torch.tensor(sorted({token for token in [*prompt_ids, *output_ids] if token >= 0}), dtype=torch.long)
        selected = logits[seen]
        logits[seen] = torch.where(
            selected > 0, selected / sampling.repetition_penalty, selected * sampling.repetition_penalty
        )
    for token, count in Counter(output_ids).items():
        logits[token] -= sampling.presence_penalty + sampling.frequency_penalty * count
    for token, bias in sampling.logit_bias.items():
        logits[token] += bias
    return logits


def sample_naively(logits: Tensor, sampling: SamplingParams, prompt_ids: list[int], output_ids: list[int]) -> int:
    adjusted = adjust_naively(logits, sampling, prompt_ids, output_ids)
    if sampling.is_greedy:
        return int(adjusted.argmax())
    probabilities = (adjusted.double() / sampling.temperature).softmax(dim=-1)
    return draw_naively(probabilities, sampling, random.Random(f"{sampling.seed} {len(output_ids)}").random())


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


def run(states: list[OutputState], logits: Tensor) -> list[int | None]:
    return [choice.token_id for choice in sample_tokens(logits, states)]


def build_state(sampling: SamplingParams, output_ids: list[int]) -> OutputState:
    return OutputState(sampling, (3, -1, 5), (), DeferredDetokenizer(lambda _: ""), None, output_ids)


@given(fields=FIELDS, seed=st.integers(0, 2**32))
def test_samples_equal_those_of_a_naive_sampler(fields: dict[str, Any], seed: int) -> None:
    """Also with another sequence in the batch, and with a state that is rebuilt at every step."""
    sampling = SamplingParams(**fields)
    generator = torch.Generator().manual_seed(seed)
    state, output_ids = build_state(sampling, []), list[int]()
    for _ in range(6):
        logits = torch.randn(2, V, generator=generator)
        expected = sample_naively(logits[1], sampling, [3, -1, 5], output_ids)
        other = build_state(sampling, [])
        assert run([other, state], logits)[1] == expected
        assert run([build_state(sampling, output_ids)], logits[1:]) == [expected]
        state.accept_token(SampledToken(expected))
        output_ids.append(expected)


def test_tokens_are_not_counted_without_penalties() -> None:
    assert build_state(SamplingParams(temperature=1.0), [1, 2, 3]).penalties is None


class SinglePassList(list[int]):
    """List that may be iterated over once."""

    looks = 0

    def __iter__(self) -> Iterator[int]:
        self.looks += 1
        assert self.looks <= 1
        return super().__iter__()


def test_generated_tokens_are_counted_once() -> None:
    state = build_state(SamplingParams(frequency_penalty=1.0), [])
    assert state.penalties is not None
    state.penalties.add_tokens(SinglePassList([1, 1, 2]))
    for _ in range(3):
        assert state.penalties.apply_penalties(torch.zeros(V))[:3].tolist() == [0.0, -2.0, -1.0]


@given(counts=st.lists(st.sampled_from([None, 0, 1, 5, 20]), min_size=1, max_size=6), seed=st.integers(0, 2**32))
def test_logprobs_are_those_of_each_sequence_alone(counts: list[int | None], seed: int) -> None:
    logits = torch.randn(len(counts), V, generator=torch.Generator().manual_seed(seed))
    states = [build_state(SamplingParams(logprobs=count), []) for count in counts]
    for token, count, row in zip(sample_tokens(logits, states), counts, logits, strict=True):
        assert token.token_id == int(row.argmax())
        if count is None:
            assert (token.logprob, token.top_logprobs) == (None, ())
        else:
            expected = row.log_softmax(dim=-1)
            assert token.logprob == pytest.approx(float(expected[token.token_id]), abs=1e-5)
            top = expected.topk(count)
            assert [top_id for top_id, _ in token.top_logprobs] == top.indices.tolist()
            assert [value for _, value in token.top_logprobs] == pytest.approx(top.values.tolist(), abs=1e-5)


class CallCounter(TorchDispatchMode):
    """Count of the tensor operations within a context."""

    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("logprobs", [None, 20])
def test_the_number_of_tensor_operations_does_not_grow_with_greedy_sequences(logprobs: int | None) -> None:
    """The thread of the model waits for other threads at each of them."""

    def count_calls(num_sequences: int) -> int:
        states = [build_state(SamplingParams(logprobs=logprobs), []) for _ in range(num_sequences)]
        with CallCounter() as counter:
            sample_tokens(torch.zeros(num_sequences, V), states)
        return counter.calls

    assert count_calls(32) == count_calls(2)


NON_FINITE_VALUES = (float("nan"), float("inf"), float("-inf"))


@pytest.mark.parametrize("value", NON_FINITE_VALUES)
@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"logprobs": 3}, {"logit_bias": {7: 3.0}}])
def test_non_finite_logits_end_only_their_sequence(value: float, options: dict[str, Any]) -> None:
    logits = torch.randn(3, V, generator=torch.Generator().manual_seed(0))
    finite_logits, sampling = logits.clone(), SamplingParams(**options)
    logits[1, 5] = value
    states = [build_state(sampling, []) for _ in range(3)]
    tokens, expected_tokens = sample_tokens(logits, states), sample_tokens(finite_logits, states)
    assert (tokens[1].token_id, tokens[1].finish_reason) == (None, FinishReason.NON_FINITE)
    assert [tokens[0], tokens[2]] == [expected_tokens[0], expected_tokens[2]]


def test_large_finite_logits_are_accepted() -> None:
    """Their sum is infinite."""
    logits = torch.full((1, V), 3e38)
    logits[0, 7] = 3.3e38
    state = build_state(SamplingParams(), [])
    assert sample_tokens(logits, [state])[0].token_id == 7
