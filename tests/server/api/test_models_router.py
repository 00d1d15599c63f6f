"""`/v1/models` over HTTP, and the health endpoints."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.server.live_server import ANSWERS, BASE, Running, prompt_for


def test_the_model_list_contains_the_base_model_and_all_prompts(served: Running, client: openai.OpenAI) -> None:
    found = {model.id: model.model_dump() for model in client.models.list()}
    assert next(iter(found)) == BASE
    assert set(found) == {BASE, "answers", "answers@canary", "behind", "chat", "foreign", "pairs", "reviews"}
    assert found["answers@canary"]["root"] == "answers@2"
    assert found["answers"]["root"] == "answers@1"
    assert found["reviews"]["task"] == "classification"
    assert found["reviews"]["owned_by"] == "default"


def test_the_model_list_is_paginated(served: Running) -> None:
    def page(**query: object) -> dict[str, Any]:
        return served.get("/v1/models?" + "&".join(f"{name}={value}" for name, value in query.items())).json()

    whole = page()
    assert (whole["has_more"], whole["first_id"], whole["last_id"]) == (False, BASE, "reviews")
    for limit in (1, 2, 3, 7):
        found: list[dict[str, Any]] = []
        last: dict[str, Any] = {"has_more": True, "last_id": None}
        while last["has_more"]:
            last = page(limit=limit, **({"after": last["last_id"]} if last["last_id"] else {}))
            assert len(last["data"]) == limit or not last["has_more"]
            found += last["data"]
        assert found == whole["data"]
    assert page(after="nothing-like-it")["data"] == [each for each in whole["data"][1:] if each["id"] > "nothing"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=many", "after=answers@1", "after=No%20name"])
def test_invalid_page_parameters_of_the_model_list_are_rejected(served: Running, query: str) -> None:
    answer = served.get(f"/v1/models?{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_value", query.partition("=")[0])


def test_a_prompt_with_the_name_of_the_base_model_is_listed_under_its_alias(served: Running) -> None:
    served.store.register_prompt(prompt_for(served.parts.model, ANSWERS), BASE)
    try:
        assert served.get("/v1/models?limit=1").json()["data"][0]["parent"] is None
        named = {each["id"]: each["root"] for each in served.get("/v1/models").json()["data"] if each["parent"]}
        assert named[f"{BASE}@active"] == f"{BASE}@1"
        assert served.get(f"/v1/models/{BASE}@active").json()["root"] == f"{BASE}@1"
    finally:
        served.store.deactivate_alias(BASE)
        served.store.remove_versions(BASE)


def test_a_model_is_retrieved_by_its_name_and_an_unknown_name_returns_404(client: openai.OpenAI) -> None:
    assert client.models.retrieve("answers@2").model_dump()["root"] == "answers@2"
    assert client.models.retrieve(BASE).id == BASE
    for name in ("nothing", "Nothing at all"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(name)


def test_the_server_is_healthy_and_ready(served: Running) -> None:
    assert served.get("/health").status_code == served.get("/ready").status_code == 200
    paths = served.get("/openapi.json").json()["paths"]
    assert {"/v1/chat/completions", "/v1/completions", "/v1/classify", "/v1/models", "/health", "/ready"} <= set(paths)
