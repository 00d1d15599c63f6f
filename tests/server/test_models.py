"""What can be asked for."""

from __future__ import annotations

import openai
import pytest

from tests.server.running import BASE, Running


def test_the_base_and_the_prompts(served: Running, client: openai.OpenAI) -> None:
    found = {model.id: model.model_dump() for model in client.models.list()}
    assert next(iter(found)) == BASE
    assert set(found) == {BASE, "answers", "answers@canary", "behind", "chat", "foreign", "pairs", "reviews"}
    assert found["answers@canary"]["root"] == "answers@2"
    assert found["answers"]["root"] == "answers@1"
    assert found["reviews"]["task"] == "classification"
    assert found["reviews"]["owned_by"] == "default"


def test_one(client: openai.OpenAI) -> None:
    assert client.models.retrieve("answers@2").model_dump()["root"] == "answers@2"
    assert client.models.retrieve(BASE).id == BASE
    for name in ("nothing", "Nothing at all"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(name)


def test_it_lives_and_is_ready(served: Running) -> None:
    assert served.get("/health").status_code == served.get("/ready").status_code == 200
    paths = served.get("/openapi.json").json()["paths"]
    assert {"/v1/chat/completions", "/v1/completions", "/v1/classify", "/v1/models", "/health", "/ready"} <= set(paths)
