"""Completions through OpenAI's own client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from softprompt.evaluation import SamplingParams, generate_texts
from softprompt.model import FrozenModel, GenerativeModel
from softprompt.tasks import EncodedExample
from tests.server.live_server import BASE, Running, chatting_model


@pytest.fixture(scope="module")
def alone() -> GenerativeModel:
    model: FrozenModel = chatting_model()
    assert isinstance(model, GenerativeModel)
    return model


def test_the_base_model_completes_texts_and_token_ids(client: openai.OpenAI, alone: GenerativeModel) -> None:
    ids = alone.prompt_tokenizer.encode_text("the film was great")
    expected = generate_texts(alone, [EncodedExample(ids)], [None], SamplingParams(10))
    for prompt in ("the film was great", ids, [ids], ["the film was great"], "<s>the film was great"):
        answer = client.completions.create(model=BASE, prompt=prompt, max_tokens=10, temperature=0)  # type: ignore[arg-type]
        assert [choice.text.strip() for choice in answer.choices] == expected
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == len(ids)
        assert answer.model == BASE


def test_a_request_with_several_texts_returns_n_responses_to_each(client: openai.OpenAI) -> None:
    asked: Any = {"model": "answers", "max_tokens": 8, "temperature": 1.2, "seed": 2}
    both = client.completions.create(prompt=["the film", "a bore"], n=2, **asked).choices
    each = [client.completions.create(prompt=text, n=2, **asked).choices for text in ("the film", "a bore")]
    assert [choice.index for choice in both] == [0, 1, 2, 3]
    assert [choice.text for choice in both] == [choice.text for one in each for choice in one]


def test_a_completion_with_a_prompt_equals_the_chat_response_to_the_same_text(client: openai.OpenAI) -> None:
    for model in ("answers", "chat", "behind"):
        text = client.completions.create(model=model, prompt="the film", max_tokens=10, temperature=0).choices[0].text
        chat = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "the film"}], max_tokens=10, temperature=0
        )
        assert text == chat.choices[0].message.content


def test_a_stream_equals_the_whole_response(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": "answers",
        "prompt": ["the film", "a bore"],
        "max_tokens": 12,
        "temperature": 0,
        "logprobs": 1,
    }
    whole = client.completions.create(**asked).choices
    texts: list[str] = ["", ""]
    offsets: list[list[int]] = [[], []]
    for chunk in client.completions.create(**asked, stream=True):
        [choice] = chunk.choices
        texts[choice.index] += choice.text
        assert choice.logprobs is not None
        offsets[choice.index] += choice.logprobs.text_offset or []
    assert texts == [choice.text for choice in whole]
    assert offsets == [choice.logprobs.text_offset for choice in whole if choice.logprobs]


def test_completions_return_logprobs(client: openai.OpenAI) -> None:
    choice = client.completions.create(model=BASE, prompt="the", max_tokens=4, temperature=0, logprobs=2).choices[0]
    told = choice.logprobs
    assert told is not None
    assert told.top_logprobs is not None
    assert told.token_logprobs is not None
    assert len(told.tokens or []) == len(told.token_logprobs) == len(told.top_logprobs) == 4
    for own, others in zip(told.token_logprobs, told.top_logprobs, strict=True):
        assert own == max(others.values())


def test_a_completion_has_sixteen_tokens_by_default(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=BASE, prompt="the film", extra_body={"ignore_eos": True})
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"model": "answers", "prompt": [1, 2]}, "instead of token ids"),
        ({"model": BASE, "prompt": [384]}, "Token id 384"),
        ({"model": BASE, "prompt": [-1]}, "greater than or equal to 0"),
        ({"model": BASE, "prompt": []}, "at least 1"),
        ({"model": BASE, "prompt": "a", "suffix": "b"}, "suffix"),
        ({"model": BASE, "prompt": "a", "best_of": 3}, "best_of"),
        ({"model": BASE, "prompt": ["a"] * 65, "n": 2}, "130 responses"),
        ({"model": BASE, "prompt": "a", "fields": {}}, "fields"),
        ({"model": "reviews", "prompt": "a"}, "/v1/classify"),
        ({"model": BASE, "prompt": "a \ud83d"}, "lone surrogate"),
    ],
)
def test_invalid_completion_requests_are_rejected(served: Running, body: dict[str, Any], word: str) -> None:
    status, error = served.refused("/v1/completions", body)
    assert status == 400
    assert word in error["message"]
    assert error["type"] == "invalid_request_error"
