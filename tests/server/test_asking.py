"""What a request asks for, within what there is room for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.server.asking import nth, response_lengths, sampling_of
from softprompt.server.desk import Asked
from softprompt.server.protocol.completions import CompletionRequest
from softprompt.server.refusal import Refusal

sizes = st.integers(0, 40)


def request(**more: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": "m", "prompt": "a", **more})


@given(sizes, st.integers(1, 40), st.none() | st.integers(1, 60), st.integers(2, 60), st.none() | st.integers(1, 60))
def test_an_answer_is_as_long_as_was_asked_for_or_as_fits(
    positions: int, tokens: int, wanted: int | None, length: int, longest: int | None
) -> None:
    asked = Asked(tuple(range(tokens)), positions, None, "", is_answer=False)
    fits = length - positions - tokens + 1
    allowed = longest or max(fits, wanted or 1)
    if (wanted or 1) > min(fits, allowed):
        with pytest.raises(Refusal) as caught:
            response_lengths([asked], ["prompt"], wanted, length, longest)
        numbers = (length, positions + tokens + (wanted or 1)) if (wanted or 1) <= allowed else (wanted, allowed)
        assert all(str(number) in caught.value.message for number in numbers)
    else:
        assert response_lengths([asked], ["prompt"], wanted, length, longest) == [wanted or min(fits, allowed)]


def test_the_ith_has_the_seed_plus_i() -> None:
    sampling = sampling_of(request(seed=7, top_k=-1, logit_bias={"3": -5}), 10, None)
    assert (sampling.seed, sampling.top_k, sampling.logit_bias) == (7, 0, {3: -5.0})
    third = nth(sampling, 2, 9)
    assert (third.seed, third.max_new_tokens) == (9, 9)
    assert sampling_of(request(), 10, None).seed != sampling_of(request(), 10, None).seed


@pytest.mark.parametrize("token", ["10", "-1", "x", "²", "1.5", "", "9" * 5000])
def test_a_bias_is_for_a_token(token: str) -> None:
    with pytest.raises(Refusal, match="no token"):
        sampling_of(request(logit_bias={token: 1}), 10, None)
