"""The scheduler lets no request through whose placeholders would be computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from softprompt.vllm.asked import Asked
from softprompt.vllm.guard import Arrived, why_refused

ASKED = Asked("ab" * 32, 3)
BEHIND = Arrived(ASKED.parameters(), [0, 0, 0, 7, 8])
BARE = Arrived(None, [7, 8])


@pytest.mark.parametrize("right", [BEHIND, BARE, Arrived(None, [0, 7]), Arrived(None, None), Arrived({}, [7])])
def test_what_is_right_goes_through(right: Arrived) -> None:
    assert why_refused(right) is None


def test_a_text_may_begin_with_the_placeholders_token() -> None:
    assert why_refused(replace(BEHIND, tokens=[0, 0, 0, 0, 7])) is None


WRONG: dict[str, tuple[Callable[[], Arrived], str]] = {
    "parameters": (lambda: replace(BEHIND, parameters={"softprompt": 1}), "positions"),
    "no parameters, as beam search leaves it": (lambda: replace(BEHIND, parameters=None), "names no prompt"),
    "one placeholder short": (lambda: replace(BEHIND, tokens=[0, 0, 7, 8]), "3 placeholders"),
    "other tokens": (lambda: replace(BEHIND, tokens=[5, 5, 5, 7]), "3 placeholders"),
    "nothing behind it": (lambda: replace(BEHIND, tokens=[0, 0, 0]), "not more than"),
    "shorter than it": (lambda: replace(BEHIND, tokens=[0]), "not more than"),
    "embeddings": (lambda: replace(BEHIND, tokens=None), "embeddings"),
    "its prompt's log-probabilities": (lambda: replace(BEHIND, reads_all=True), "log-probabilities"),
    "a LoRA": (lambda: replace(BEHIND, has_adapter=True), "LoRA"),
    "media": (lambda: replace(BEHIND, has_media=True), "images"),
    "a session": (lambda: replace(BEHIND, goes_on=True), "session"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_refused(wrong: str) -> None:
    made, says = WRONG[wrong]
    assert says in (why_refused(made()) or "")


@pytest.mark.parametrize("change", [{"reads_all": True}, {"has_adapter": True}, {"has_media": True}, {"goes_on": True}])
def test_the_bare_base_may_do_as_it_likes(change: dict[str, bool]) -> None:
    assert why_refused(replace(BARE, **change)) is None
