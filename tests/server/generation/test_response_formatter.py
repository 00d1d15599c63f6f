"""Generations in OpenAI's format, whole and streamed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from softprompt.engine import TokenOutput
from softprompt.server.generation.chat_formatter import ChatFormatter
from softprompt.server.generation.completion_formatter import CompletionFormatter
from softprompt.server.generation.generation_group import OutputChunk
from softprompt.server.generation.logprobs_formatter import LogprobsFormatter
from softprompt.server.generation.response_formatter import ResponseFormatter, ResponseMetadata
from softprompt.server.schemas.chat_schemas import CompletionUsage, PromptTokensDetails
from tests.tiny import shared_model

METADATA = ResponseMetadata("id-1", 7, "reviews@1", "fp_1")
USAGE = CompletionUsage(
    prompt_tokens=1, completion_tokens=2, total_tokens=3, prompt_tokens_details=PromptTokensDetails(cached_tokens=0)
)
TEXT, SILENT, LAST = (
    OutputChunk(0, text, TokenOutput(token_id, text, None, -0.5), finish_reason)
    for text, token_id, finish_reason in (("tea", 5, None), ("", 6, None), ("", 7, "stop"))
)


@pytest.fixture
def logprobs() -> LogprobsFormatter:
    return LogprobsFormatter(shared_model("llama").tokenizer)


def streamed(formatter: ResponseFormatter[Any], *chunks: OutputChunk) -> list[dict[str, Any]]:
    """The choices of a stream, as they are sent."""
    choices = [
        *formatter.iter_opening_choices(0),
        *(each for chunk in chunks for each in formatter.iter_chunk_choices(chunk)),
    ]
    return [choice.model_dump(exclude_unset=True) for choice in choices]


def sent(formatter: ResponseFormatter[Any], **usage: Any) -> dict[str, Any]:
    choices: list[BaseModel] = list(formatter.iter_chunk_choices(TEXT))
    return formatter.format_chunk(METADATA, choices, **usage).model_dump(exclude_unset=True)


def test_a_chat_streams_role_text_and_finish_reason_in_separate_chunks(logprobs: LogprobsFormatter) -> None:
    assert streamed(ChatFormatter(logprobs, has_logprobs=False), TEXT, SILENT, LAST) == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None},
        {"index": 0, "delta": {"content": "tea"}, "logprobs": None, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]


def test_a_completion_streams_text_with_its_finish_reason(logprobs: LogprobsFormatter) -> None:
    assert streamed(CompletionFormatter(logprobs, has_logprobs=False), TEXT, SILENT, LAST) == [
        {"index": 0, "text": "tea", "logprobs": None, "finish_reason": None},
        {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"},
    ]


def test_every_token_is_streamed_with_its_log_probability(logprobs: LogprobsFormatter) -> None:
    chat = streamed(ChatFormatter(logprobs, has_logprobs=True), TEXT, SILENT)
    assert [choice["logprobs"]["content"][0]["logprob"] for choice in chat[1:]] == [-0.5, -0.5]
    formatter = CompletionFormatter(logprobs, has_logprobs=True)
    text = [choice["logprobs"] for choice in streamed(formatter, TEXT, SILENT, LAST)]
    whole = formatter.format_choice(0, [TEXT, SILENT, LAST]).logprobs
    assert whole is not None
    assert [offset for each in text for offset in each["text_offset"]] == whole.text_offset
    assert [token for each in text for token in each["tokens"]] == whole.tokens


@pytest.mark.parametrize("kind", [ChatFormatter, CompletionFormatter])
def test_a_chunk_has_usage_only_if_usage_is_given(
    logprobs: LogprobsFormatter, kind: type[ResponseFormatter[Any]]
) -> None:
    formatter = kind(logprobs, has_logprobs=False)
    bare = sent(formatter)
    assert set(bare) == {"id", "object", "created", "model", "choices", "system_fingerprint"}
    assert sent(formatter, usage=None) == {**bare, "usage": None}
    assert sent(formatter, usage=USAGE)["usage"]["total_tokens"] == 3


@pytest.mark.parametrize("kind", [ChatFormatter, CompletionFormatter])
def test_a_whole_response_has_all_choices(logprobs: LogprobsFormatter, kind: type[ResponseFormatter[Any]]) -> None:
    formatter = kind(logprobs, has_logprobs=False)
    choices = [formatter.format_choice(index, [TEXT, SILENT, LAST]) for index in range(2)]
    response = formatter.format_response(METADATA, choices, USAGE)
    assert isinstance(response, formatter.response_type)
    assert (response.id, response.created, response.model, response.usage) == ("id-1", 7, "reviews@1", USAGE)
    assert [(choice.index, choice.finish_reason) for choice in response.choices] == [(0, "stop"), (1, "stop")]
