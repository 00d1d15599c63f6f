"""`/v1/classify` over HTTP."""

from __future__ import annotations

import threading
from typing import Any

import openai
import pytest

from softprompt.evaluation import classify
from tests.server.live_server import BASE, REVIEWS, Running, chatting_model, prompt_for

TEXTS = ["the film was great fun", "a bore", "its ending was awful, the plot a bore and the food bad", "tea"]


def test_served_labels_and_probabilities_equal_those_of_the_python_function_classify(served: Running) -> None:
    model = chatting_model()
    expected = classify(model, prompt_for(model, REVIEWS, 5), TEXTS)
    answer = served.post("/v1/classify", {"model": "reviews", "input": TEXTS}).json()
    assert [each["label"] for each in answer["data"]] == [each.label for each in expected]
    for each, own in zip(answer["data"], expected, strict=True):
        assert each["probabilities"] == pytest.approx(own.probabilities, abs=1e-4)
        assert sum(each["probabilities"].values()) == pytest.approx(1)
    assert answer["model"] == "reviews@1"
    one = served.post("/v1/classify", {"model": "reviews", "input": TEXTS[1]}).json()
    assert one["data"][0]["label"] == expected[1].label
    by_field = served.post("/v1/classify", {"model": "reviews", "input": [{"text": TEXTS[1]}]}).json()
    assert by_field["data"] == one["data"]


def test_concurrent_classifications_and_generations_do_not_change_each_other(
    served: Running, client: openai.OpenAI
) -> None:
    asked: Any = {
        "model": "answers",
        "messages": [{"role": "user", "content": "tea"}],
        "max_tokens": 60,
        "temperature": 0,
    }
    more = {"ignore_eos": True}
    before = client.chat.completions.create(**asked, extra_body=more).choices[0].message.content
    quiet = served.post("/v1/classify", {"model": "reviews", "input": TEXTS}).json()["data"]
    texts: list[Any] = []

    def write() -> None:
        texts.append(client.chat.completions.create(**asked, extra_body=more).choices[0].message.content)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for _ in range(5):
        assert served.post("/v1/classify", {"model": "reviews", "input": TEXTS}).json()["data"] == quiet
    for writer in writers:
        writer.join()
    assert texts == [before] * 4


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"model": BASE, "input": "a"}, "cannot classify"),
        ({"model": "answers", "input": "a"}, "/v1/chat/completions"),
        ({"model": "reviews", "input": []}, "at least 1"),
        ({"model": "reviews", "input": ["a"] * 1025}, "1025 texts"),
        ({"model": "reviews", "input": {"words": "a"}}, "words"),
        ({"model": "reviews", "input": "the film " * 100}, "maximum context length is 128"),
        ({"model": "reviews", "input": "a", "temperature": 1}, "temperature"),
    ],
)
def test_invalid_classification_requests_are_rejected(served: Running, body: dict[str, Any], word: str) -> None:
    status, error = served.refused("/v1/classify", body)
    assert status == 400
    assert word in error["message"]
