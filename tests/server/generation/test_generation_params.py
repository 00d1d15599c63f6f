"""Sampling parameters of a request, within the context length and the limits of the server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.server.generation.generation_params import (
    derive_sampling_params,
    resolve_max_tokens,
    to_sampling_params,
)
from softprompt.server.generation.tokenized_prompt import TokenizedPrompt
from softprompt.server.request_errors import RequestError
from softprompt.server.schemas.completion_schemas import CompletionRequest

sizes = st.integers(0, 40)


def request(**more: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": "m", "prompt": "a", **more})


@given(sizes, st.integers(1, 40), st.none() | st.integers(1, 60), st.integers(2, 60), st.none() | st.integers(1, 60))
def test_max_tokens_is_the_requested_number_or_the_rest_of_the_context(
    positions: int, tokens: int, wanted: int | None, length: int, longest: int | None
) -> None:
    asked = TokenizedPrompt(tuple(range(tokens)), positions, None, "", has_template=False)
    fits = length - positions - tokens + 1
    allowed = longest or max(fits, wanted or 1)
    if (wanted or 1) > min(fits, allowed):
        with pytest.raises(RequestError) as caught:
            resolve_max_tokens([asked], ["prompt"], wanted, length, longest)
        numbers = (length, positions + tokens + (wanted or 1)) if (wanted or 1) <= allowed else (wanted, allowed)
        assert all(str(number) in caught.value.message for number in numbers)
    else:
        assert resolve_max_tokens([asked], ["prompt"], wanted, length, longest) == [wanted or min(fits, allowed)]


def test_response_i_has_the_seed_plus_i() -> None:
    sampling = to_sampling_params(request(seed=7, top_k=-1, logit_bias={"3": -5}), 10, None)
    assert (sampling.seed, sampling.top_k, sampling.logit_bias) == (7, 0, {3: -5.0})
    third = derive_sampling_params(sampling, 2, 9)
    assert (third.seed, third.max_new_tokens) == (9, 9)
    assert to_sampling_params(request(), 10, None).seed != to_sampling_params(request(), 10, None).seed


@pytest.mark.parametrize("token", ["10", "-1", "x", "²", "1.5", "", "9" * 5000])
def test_logit_bias_rejects_invalid_token_ids(token: str) -> None:
    with pytest.raises(RequestError, match="not a valid token id"):
        to_sampling_params(request(logit_bias={token: 1}), 10, None)
