"""The scheduler lets no request through whose placeholders would be computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from softprompt.vllm.request_rejection import RequestInfo, find_rejection_reason
from softprompt.vllm_protocol import PromptTransferParams

ASKED = PromptTransferParams("ab" * 32, 3)
BEHIND = RequestInfo(ASKED.to_kv_transfer_params(), [0, 0, 0, 7, 8])
BARE = RequestInfo(None, [7, 8])


@pytest.mark.parametrize(
    "right", [BEHIND, BARE, RequestInfo(None, [0, 7]), RequestInfo(None, None), RequestInfo({}, [7])]
)
def test_what_is_right_goes_through(right: RequestInfo) -> None:
    assert find_rejection_reason(right) is None


def test_a_text_may_begin_with_the_placeholders_token() -> None:
    assert find_rejection_reason(replace(BEHIND, prompt_token_ids=[0, 0, 0, 0, 7])) is None


WRONG: dict[str, tuple[Callable[[], RequestInfo], str]] = {
    "parameters": (lambda: replace(BEHIND, kv_transfer_params={"softprompt": 1}), "num_positions"),
    "no parameters, as beam search leaves it": (lambda: replace(BEHIND, kv_transfer_params=None), "names no prompt"),
    "one placeholder short": (lambda: replace(BEHIND, prompt_token_ids=[0, 0, 7, 8]), "3 placeholders"),
    "other tokens": (lambda: replace(BEHIND, prompt_token_ids=[5, 5, 5, 7]), "3 placeholders"),
    "nothing behind it": (lambda: replace(BEHIND, prompt_token_ids=[0, 0, 0]), "not more than"),
    "shorter than it": (lambda: replace(BEHIND, prompt_token_ids=[0]), "not more than"),
    "embeddings": (lambda: replace(BEHIND, prompt_token_ids=None), "embeddings"),
    "its prompt's log-probabilities": (lambda: replace(BEHIND, skips_prefix_cache=True), "log-probabilities"),
    "a LoRA": (lambda: replace(BEHIND, has_lora=True), "LoRA"),
    "media": (lambda: replace(BEHIND, has_multimodal=True), "images"),
    "a session": (lambda: replace(BEHIND, is_resumable=True), "session"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_refused(wrong: str) -> None:
    made, says = WRONG[wrong]
    assert says in (find_rejection_reason(made()) or "")


@pytest.mark.parametrize(
    "change", [{"skips_prefix_cache": True}, {"has_lora": True}, {"has_multimodal": True}, {"is_resumable": True}]
)
def test_the_bare_base_may_do_as_it_likes(change: dict[str, bool]) -> None:
    assert find_rejection_reason(replace(BARE, **change)) is None
