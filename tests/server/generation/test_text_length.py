"""Texts that cannot fit are rejected by their length, on every endpoint and before tokenization."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.model import FrozenModel
from softprompt.server.generation.prompt_renderer import PromptRenderer
from softprompt.server.generation.text_length import TextTooLong
from tests.server.live_server import BASE, Running

LONG = "ab" * 50_000


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("completions", {"model": BASE, "prompt": LONG}, "prompt"),
        ("completions", {"model": BASE, "prompt": ["tea", LONG]}, "prompt.1"),
        ("completions", {"model": "answers", "prompt": LONG}, "prompt"),
        ("completions", {"model": "pairs", "prompt": "", "fields": {"name": "ann", "food": LONG}}, "fields"),
        ("completions", {"model": "chat", "prompt": LONG}, "prompt"),
        ("chat/completions", {"model": BASE, "messages": [{"role": "user", "content": LONG}]}, "messages"),
        ("chat/completions", {"model": BASE, "messages": [{"role": "user", "content": "</s>" * 9000}]}, "messages"),
        ("chat/completions", {"model": "answers", "messages": [{"role": "user", "content": LONG}]}, "messages"),
        ("classify", {"model": "reviews", "input": LONG}, "input"),
        ("classify", {"model": "reviews", "input": ["tea", {"text": LONG}]}, "input.1"),
    ],
)
def test_a_text_that_cannot_fit_is_not_tokenized(
    served: Running, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any], param: str
) -> None:
    lengths: list[int] = []
    tokenizer, call = (
        served.parts.prompt_renderer.model.tokenizer,
        type(served.parts.prompt_renderer.model.tokenizer).__call__,
    )

    def noted(self: Any, text: Any, *rest: Any, **named: Any) -> Any:
        if self is tokenizer:
            lengths.append(max(map(len, [text] if isinstance(text, str) else text)))
        return call(self, text, *rest, **named)

    monkeypatch.setattr(type(tokenizer), "__call__", noted)
    status, error = served.refused(f"/v1/{path}", body)
    assert (status, error["code"], error["param"]) == (400, "context_length_exceeded", param)
    assert f"'{param}' has" in error["message"]
    assert "which are at least" in error["message"]
    assert max(lengths, default=0) < 1000


def test_a_text_that_may_fit_is_tokenized(chatting: FrozenModel) -> None:
    desk = PromptRenderer(chatting, 128)
    longest = max(map(len, chatting.tokenizer.get_vocab()))
    try:
        desk.render_completion(None, "a" * (128 * longest), None)  # it does not fit, which only its tokens tell
        with pytest.raises(TextTooLong, match="maximum context length is 128 tokens"):
            desk.render_completion(None, "a" * (128 * longest + 1), None)
    finally:
        desk.close()


def test_one_turn_tokenizes_a_bounded_number_of_characters(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, turns = served.parts.prompt_renderer, list[int]()
    labelled = desk.render_classification

    def noted(shelved: Any, texts: Any, names: Any) -> Any:
        turns.append(sum(map(len, texts)))
        return labelled(shelved, texts, names)

    monkeypatch.setattr(desk, "render_classification", noted)
    texts = [" " * 10_000 + "tea"] * 8
    status, error = served.refused("/v1/classify", {"model": "reviews", "input": texts})
    assert (status, error["param"]) == (400, "input.0")  # and the texts behind those of its turn were not read
    assert turns == [30_009]
