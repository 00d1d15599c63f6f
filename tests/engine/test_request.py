"""How tokens are to be chosen: what cannot be is refused, with the value and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.engine.request import LONGEST_STOP, MOST_STOPS, Sampling
from softprompt.errors import SettingError


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stop": ["a"] * (MOST_STOPS + 1)}, "stop: 17 texts: give 16 at most"),
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
        ({"stop": ["a", "b" * (LONGEST_STOP + 1)]}, "stop: a text of 257 characters: give texts of 256 at most"),
    ],
)
def test_what_is_too_much_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Sampling(**fields)


def test_as_many_and_as_long_stop_texts_as_may_be_are_taken() -> None:
    stops = ["b" * LONGEST_STOP] * MOST_STOPS
    assert list(Sampling(stop=stops).stop) == stops
