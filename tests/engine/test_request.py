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
        ({"stop": ["a", "b" * (LONGEST_STOP + 1)]}, "stop: a text of 257 characters: give texts of 256 at most"),
    ],
)
def test_what_is_too_much_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Sampling(**fields)


def test_as_many_and_as_long_stop_texts_as_may_be_are_taken() -> None:
    Sampling(stop=["b" * LONGEST_STOP] * MOST_STOPS)
