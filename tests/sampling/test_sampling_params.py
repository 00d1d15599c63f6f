"""Invalid sampling parameters are rejected with a message that names the value and the valid range."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.errors import SettingError
from softprompt.sampling.grammar import CompiledGrammar
from softprompt.sampling.sampling_params import MAX_STOP_LENGTH, MAX_STOP_STRINGS, SamplingParams


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stop": ["a"] * (MAX_STOP_STRINGS + 1)}, "`stop`: 17 stop strings: use at most 16"),
        ({"temperature": float("nan")}, "`temperature=nan`: choose a finite number, 0 or more"),
        ({"temperature": float("inf")}, "`temperature=inf`: choose a finite number, 0 or more"),
        ({"presence_penalty": float("nan")}, "`presence_penalty=nan`: choose -1e\\+30 to 1e\\+30"),
        ({"frequency_penalty": -1e31}, "`frequency_penalty=-1e\\+31`"),
        ({"logit_bias": {4: 0.0, 7: float("inf")}}, "`logit_bias` of token 7 is inf"),
        ({"logit_bias": {7: 1e308}}, "`logit_bias` of token 7 is 1e\\+308"),
        ({"repetition_penalty": 1e-310}, "`repetition_penalty=1e-310`: choose 0.01 to 100.0"),
        ({"repetition_penalty": 1e300}, "`repetition_penalty=1e\\+300`"),
        ({"top_p": float("nan")}, "`top_p=nan`: choose 0 to 1"),
        ({"min_p": float("nan")}, "`min_p=nan`: choose 0 to 1"),
        ({"stop": ["a", "b" * (MAX_STOP_LENGTH + 1)]}, "`stop`: a stop string has 257 characters: use at most 256"),
    ],
)
def test_invalid_sampling_parameters_are_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        SamplingParams(**fields)


def test_the_maximum_number_and_length_of_stop_strings_are_accepted() -> None:
    stop_strings = ["b" * MAX_STOP_LENGTH] * MAX_STOP_STRINGS
    assert list(SamplingParams(stop=stop_strings).stop) == stop_strings


@pytest.mark.parametrize("token_id", [-1, 384])
def test_biases_of_other_vocabularies_are_rejected(token_id: int) -> None:
    with pytest.raises(SettingError, match=f"`logit_bias`: {token_id} is not a token id: choose 0 to 383"):
        SamplingParams(logit_bias={3: 1.0, token_id: 1.0}).check_vocabulary(384)
    SamplingParams(logit_bias={0: 1.0, 383: 1.0}).check_vocabulary(384)


def test_a_grammar_of_another_vocabulary_is_rejected() -> None:
    grammar = CompiledGrammar(None, {"regex": "a+"}, 384)  # type: ignore[arg-type]
    SamplingParams(grammar=grammar).check_vocabulary(384)
    with pytest.raises(SettingError, match="`grammar` was compiled for another model"):
        SamplingParams(grammar=grammar).check_vocabulary(385)


def test_each_response_draws_with_its_own_seed() -> None:
    params = SamplingParams(9, temperature=1.0, seed=5)
    assert params.offset_seed(0) == params
    assert params.offset_seed(2) == SamplingParams(9, temperature=1.0, seed=7)


def test_passing_the_seed_by_position_raises_type_error() -> None:
    """It was the fifth parameter of a class that had fewer."""
    with pytest.raises(TypeError):
        SamplingParams(9, 1.0, 0.9, 40, 5)  # type: ignore[misc]
