"""State of one response: its text, what ends it, and what the next token depends on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from softprompt.sampling import FinishReason, SampledToken, SamplingParams, TokenOutput
from softprompt.sampling.deferred_detokenizer import DeferredDetokenizer
from softprompt.sampling.output_state import OutputState
from softprompt.sampling.stop_aware_detokenizer import StopAwareDetokenizer

EOS = 2


def decode_letters(token_ids: list[int]) -> str:
    return "".join(map(chr, token_ids))


class RecordingMasker:
    """Masker that allows every token, and keeps what it is told."""

    def __init__(self) -> None:
        self.accepted: list[int] = []

    def get_mask(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.ones(200, dtype=np.bool_)

    def accept_token(self, token_id: int) -> None:
        self.accepted.append(token_id)


def push_tokens(params: SamplingParams, token_ids: list[int], masker: RecordingMasker | None = None) -> list[Any]:
    detokenizer = StopAwareDetokenizer(decode_letters, params.stop)
    state = OutputState(params, (5, 9), (EOS,), detokenizer, masker)
    return [state.accept_token(SampledToken(token_id)) for token_id in token_ids]


def test_an_end_token_ends_a_response_and_has_no_text() -> None:
    outputs = push_tokens(SamplingParams(5), [97, 98, EOS])
    assert [output.text for output in outputs] == ["a", "b", ""]
    assert [output.finish_reason for output in outputs] == [None, None, FinishReason.STOP]


def test_an_end_token_does_not_end_a_response_with_ignore_eos() -> None:
    outputs = push_tokens(SamplingParams(5, ignore_eos=True), [97, EOS, 98])
    assert [output.text for output in outputs] == ["a", "\x02", "b"]
    assert outputs[-1].finish_reason is None


def test_the_maximum_length_ends_a_response() -> None:
    outputs = push_tokens(SamplingParams(2), [97, 98])
    assert [output.finish_reason for output in outputs] == [None, FinishReason.LENGTH]
    assert push_tokens(SamplingParams(2), [97, EOS])[-1].finish_reason is FinishReason.STOP


def test_a_stop_string_ends_a_response_and_is_not_part_of_it() -> None:
    outputs = push_tokens(SamplingParams(9, stop=["bc"]), [97, 98, 99])
    assert [output.text for output in outputs] == ["a", "", ""]
    assert outputs[-1].finish_reason is FinishReason.STOP


def test_text_that_may_be_a_stop_string_is_released_at_the_end() -> None:
    outputs = push_tokens(SamplingParams(2, stop=["bcd"]), [97, 98])
    assert [output.text for output in outputs] == ["a", "b"]


def test_a_response_may_end_without_a_token() -> None:
    state = OutputState(SamplingParams(9), (), (EOS,), DeferredDetokenizer(decode_letters))
    state.accept_token(SampledToken(97))
    ended = state.accept_token(SampledToken(None, finish_reason=FinishReason.GRAMMAR_DEAD_END))
    assert ended == TokenOutput(None, "a", FinishReason.GRAMMAR_DEAD_END)


def test_the_masker_does_not_accept_the_token_that_ends_a_response() -> None:
    masker = RecordingMasker()
    push_tokens(SamplingParams(9), [97, 98, EOS], masker)
    assert masker.accepted == [97, 98]


def test_log_probabilities_of_a_sampled_token_are_in_the_output() -> None:
    state = OutputState(SamplingParams(9, logprobs=1), (), (EOS,), DeferredDetokenizer(decode_letters))
    output = state.accept_token(SampledToken(97, -0.5, ((97, -0.5),)))
    assert (output.logprob, output.top_logprobs) == (-0.5, ((97, -0.5),))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_rebuilt_output_state_counts_earlier_tokens(count: int) -> None:
    state = OutputState(SamplingParams(9), (5,), (EOS,), DeferredDetokenizer(decode_letters), None, [97] * count)
    assert state.num_output_tokens == count
    state.accept_token(SampledToken(98))
    assert state.num_output_tokens == count + 1
