"""Invalid sampling parameters are rejected with a message that names the value and the valid range."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.engine.request import MAX_STOP_LENGTH, MAX_STOP_STRINGS, SamplingParams
from softprompt.errors import SettingError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stop": ["a"] * (MAX_STOP_STRINGS + 1)}, "stop: 17 stop strings: use at most 16"),
        ({"temperature": float("nan")}, "temperature nan: choose a finite number, 0 or more"),
        ({"temperature": float("inf")}, "temperature inf: choose a finite number, 0 or more"),
        ({"presence_penalty": float("nan")}, "presence_penalty is nan: choose -1e\\+30 to 1e\\+30"),
        ({"frequency_penalty": -1e31}, "frequency_penalty is -1e\\+31"),
        ({"logit_bias": {4: 0.0, 7: float("inf")}}, "logit_bias of token 7 is inf"),
        ({"logit_bias": {7: 1e308}}, "logit_bias of token 7 is 1e\\+308"),
        ({"repetition_penalty": 1e-310}, "repetition_penalty 1e-310: choose 0.01 to 100.0"),
        ({"repetition_penalty": 1e300}, "repetition_penalty 1e\\+300"),
        ({"top_p": float("nan")}, "top_p nan: choose 0 to 1"),
        ({"min_p": float("nan")}, "min_p nan: choose 0 to 1"),
        ({"stop": ["a", "b" * (MAX_STOP_LENGTH + 1)]}, "stop: a stop string has 257 characters: use at most 256"),
    ],
)
def test_invalid_sampling_parameters_are_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        SamplingParams(**fields)


def test_the_maximum_number_and_length_of_stop_strings_are_accepted() -> None:
    stop_strings = ["b" * MAX_STOP_LENGTH] * MAX_STOP_STRINGS
    assert list(SamplingParams(stop=stop_strings).stop) == stop_strings
