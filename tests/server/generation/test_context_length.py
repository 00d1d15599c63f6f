"""The error for a text beyond the context length names the text and its excess of tokens."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.server.live_server import BASE, Running

CHAT, COMPLETE, CLASSIFY = "/v1/chat/completions", "/v1/completions", "/v1/classify"
LONG, LONGER = "the film " * 60, "the film " * 90
PAIR = {"name": "Aro", "food": LONG}


def said(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        (CLASSIFY, {"model": "reviews", "input": LONG}, "input"),
        (CLASSIFY, {"model": "reviews", "input": {"text": LONG}}, "input"),
        (CLASSIFY, {"model": "reviews", "input": ["tea", "a bore", "tea", LONG, "tea"]}, "input.3"),
        (CLASSIFY, {"model": "reviews", "input": [{"text": "tea"}, {"text": LONG}]}, "input.1"),
        (COMPLETE, {"model": "answers", "prompt": LONG}, "prompt"),
        (COMPLETE, {"model": "answers", "prompt": ["tea", LONG]}, "prompt.1"),
        (COMPLETE, {"model": "chat", "prompt": ["tea", LONG]}, "prompt.1"),
        (COMPLETE, {"model": "behind", "prompt": ["tea", LONG], "stream": True}, "prompt.1"),
        (COMPLETE, {"model": BASE, "prompt": [LONG, "tea"]}, "prompt.0"),
        (COMPLETE, {"model": BASE, "prompt": [5] * 200}, "prompt"),
        (COMPLETE, {"model": BASE, "prompt": [[5], [5] * 200], "n": 2}, "prompt.1"),
        (COMPLETE, {"model": BASE, "prompt": [[5], [5] * 9], "max_tokens": 125}, "prompt.1"),
        (COMPLETE, {"model": "pairs", "prompt": "", "fields": PAIR}, "fields"),
        (CHAT, {"model": "pairs", "messages": said("tea"), "fields": PAIR}, "fields"),
        (CHAT, {"model": "answers", "messages": said(LONG)}, "messages"),
        (CHAT, {"model": "chat", "messages": said(LONG), "stream": True}, "messages"),
        (CHAT, {"model": BASE, "messages": said(LONG)}, "messages"),
    ],
)
def test_the_error_names_the_text_that_is_too_long(served: Running, path: str, body: dict[str, Any], name: str) -> None:
    status, error = served.refused(path, body)
    assert (status, error["code"], error["param"]) == (400, "context_length_exceeded", name)
    message = error["message"]
    assert f"'{name}'" in message
    assert "maximum context length is 128 tokens" in message
    [numbers] = re.findall(r"requested (\d+) .*\((\d+) in .*, (\d+) in .*\), (\d+) too many", message)
    asked, text, response, excess = map(int, numbers)
    assert asked == text + response
    assert excess == asked - (128 if path == CLASSIFY else 129)  # what is written last is not read


def test_the_reported_excess_of_tokens_is_exact(served: Running) -> None:
    _, error = served.refused(COMPLETE, {"model": BASE, "prompt": [5] * 100, "max_tokens": 60})
    excess = int(re.findall(r"(\d+) too many", error["message"])[0])
    for fewer, status in ((excess - 1, 400), (excess, 200)):
        body = {"model": BASE, "prompt": [5] * (100 - fewer), "max_tokens": 60}
        assert served.post(COMPLETE, body).status_code == status


def test_the_error_names_all_texts_that_are_too_long(served: Running) -> None:
    for path, field in ((CLASSIFY, "input"), (COMPLETE, "prompt")):
        model = "reviews" if path == CLASSIFY else "answers"
        _, error = served.refused(path, {"model": model, field: ["tea", LONG, "tea", LONGER]})
        assert error["param"] == f"{field}.1"
        assert f"Also too long: '{field}.3' by " in error["message"]
        _, error = served.refused(path, {"model": model, field: [LONG] * 20})
        assert f"'{field}.5' by " in error["message"]
        assert ", 14 more" in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        (CLASSIFY, {"model": "reviews", "input": ["tea", {"words": "a"}]}, "input.1"),
        (CLASSIFY, {"model": "reviews", "input": [{}, "tea"]}, "input.0"),
        (CLASSIFY, {"model": "reviews", "input": ["tea", "tea", {"text": None}]}, "input.2"),
        (CLASSIFY, {"model": "reviews", "input": {"text": None}}, "input"),
        (COMPLETE, {"model": BASE, "prompt": [[5], [384]]}, "prompt.1"),
        (COMPLETE, {"model": "answers", "prompt": [[5], [6]]}, "prompt.0"),
        (COMPLETE, {"model": "pairs", "prompt": "", "fields": {"name": "Aro"}}, "fields"),
        (COMPLETE, {"model": "pairs", "prompt": ["tea", "tea"]}, "prompt.0"),
        (CHAT, {"model": "pairs", "messages": said("tea"), "fields": {"drink": "tea"}}, "fields"),
    ],
)
def test_other_errors_name_the_text_that_caused_them(
    served: Running, path: str, body: dict[str, Any], name: str
) -> None:
    status, error = served.refused(path, body)
    assert (status, error["param"]) == (400, name)
    assert "." not in name or name in error["message"]
