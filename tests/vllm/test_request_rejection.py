"""The scheduler rejects every request whose placeholders would be computed as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from softprompt.vllm.request_rejection import RequestInfo, find_rejection_reason
from softprompt.vllm_protocol import PromptTransferParams

PARAMS = PromptTransferParams("ab" * 32, 3)
WITH_PROMPT = RequestInfo(PARAMS.to_kv_transfer_params(), [0, 0, 0, 7, 8])
WITHOUT_PROMPT = RequestInfo(None, [7, 8])


@pytest.mark.parametrize(
    "request_info",
    [WITH_PROMPT, WITHOUT_PROMPT, RequestInfo(None, [0, 7]), RequestInfo(None, None), RequestInfo({}, [7])],
)
def test_valid_request_is_accepted(request_info: RequestInfo) -> None:
    assert find_rejection_reason(request_info) is None


def test_text_may_start_with_the_placeholder_token() -> None:
    assert find_rejection_reason(replace(WITH_PROMPT, prompt_token_ids=[0, 0, 0, 0, 7])) is None


INVALID_REQUESTS: dict[str, tuple[Callable[[], RequestInfo], str]] = {
    "parameters": (lambda: replace(WITH_PROMPT, kv_transfer_params={"softprompt": 1}), "num_positions"),
    "no parameters, as beam search leaves it": (
        lambda: replace(WITH_PROMPT, kv_transfer_params=None),
        "names no prompt",
    ),
    "one placeholder short": (lambda: replace(WITH_PROMPT, prompt_token_ids=[0, 0, 7, 8]), "3 placeholders"),
    "other tokens": (lambda: replace(WITH_PROMPT, prompt_token_ids=[5, 5, 5, 7]), "3 placeholders"),
    "nothing behind it": (lambda: replace(WITH_PROMPT, prompt_token_ids=[0, 0, 0]), "not more than"),
    "shorter than it": (lambda: replace(WITH_PROMPT, prompt_token_ids=[0]), "not more than"),
    "embeddings": (lambda: replace(WITH_PROMPT, prompt_token_ids=None), "embeddings"),
    "its prompt's log-probabilities": (lambda: replace(WITH_PROMPT, skips_prefix_cache=True), "log-probabilities"),
    "a LoRA": (lambda: replace(WITH_PROMPT, has_lora=True), "LoRA"),
    "media": (lambda: replace(WITH_PROMPT, has_multimodal=True), "images"),
    "a session": (lambda: replace(WITH_PROMPT, is_resumable=True), "session"),
}


@pytest.mark.parametrize("name", INVALID_REQUESTS)
def test_invalid_request_is_rejected(name: str) -> None:
    make_request, message = INVALID_REQUESTS[name]
    assert message in (find_rejection_reason(make_request()) or "")


@pytest.mark.parametrize(
    "change", [{"skips_prefix_cache": True}, {"has_lora": True}, {"has_multimodal": True}, {"is_resumable": True}]
)
def test_features_are_accepted_without_a_prompt(change: dict[str, bool]) -> None:
    assert find_rejection_reason(replace(WITHOUT_PROMPT, **change)) is None
