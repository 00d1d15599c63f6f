"""Prompts that overflow in the model are rejected at upload and named in the errors of requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch

from softprompt.errors import NonFiniteOutput
from softprompt.model import FrozenModel, KVPrefix, Payload, Placement
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from softprompt.tasks import Task
from tests.server.live_server import ANSWERS, REVIEWS, Running, prompt_for, running
from tests.strategies import random_embeddings

HUGE, LARGE = 3.3e38, 1e17  # the second can be squared


def overflowing(model: FrozenModel, task: Task, kind: str) -> SavedPrompt:
    payload: Payload
    if kind == "prefix":
        payload = KVPrefix(
            torch.full(model.shape.get_prefix_shape(3), HUGE) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1, 1)
        )
    else:
        payload = random_embeddings(model, 3, seed=0, placement=Placement(kind))
        payload = payload.with_tensor(payload.tensor.sign() * HUGE)
    return SavedPrompt.from_payload(model, payload, task, method={"name": "prefix"}, trained_parameters=72)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel) -> Iterator[Running]:
    """With prompts that overflow, which came before anybody looked for that."""
    folder = tmp_path_factory.mktemp("overflow") / "store"
    with pytest.MonkeyPatch.context() as patch, PromptRegistry.open(folder, create=True) as store:
        patch.setattr("softprompt.saved.overflow_check.MAX_MAGNITUDE", float("inf"))
        store.register_prompt(overflowing(chatting, ANSWERS, "prefix"), "answers")
        store.register_prompt(overflowing(chatting, REVIEWS, "prefix"), "reviews")
        store.register_prompt(prompt_for(chatting, ANSWERS), "fine")
    with running(folder, chatting, max_num_seqs=4) as made:
        yield made


def check_error(error: dict[str, Any], name: str) -> None:
    assert error["code"] == "non_finite_logits"
    assert f"`{name}`" in error["message"]
    assert error["param"] == "model"


WAYS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 1},
    {"logprobs": True, "top_logprobs": 2, "n": 2},
    {"response_format": {"type": "json_object"}},
]


@pytest.mark.parametrize("more", WAYS)
def test_a_chat_with_an_overflowing_prompt_returns_an_error_that_names_the_prompt(
    server: Running, more: dict[str, Any]
) -> None:
    body = {"model": "answers", "messages": [{"role": "user", "content": "the film"}], "max_tokens": 4, **more}
    status, error = server.refused("/v1/chat/completions", body)
    assert status == 400
    check_error(error, "answers@1")
    *_, last, nothing = server.post("/v1/chat/completions", {**body, "stream": True}).text.split("\n\n")
    assert nothing == ""
    check_error(json.loads(last.removeprefix("data: "))["error"], "answers@1")


def test_a_completion_with_an_overflowing_prompt_does_not_affect_others(server: Running) -> None:
    body = {"model": "fine", "prompt": "the film", "max_tokens": 4, "temperature": 0, "logprobs": 2}
    before = server.post("/v1/completions", body).json()["choices"]
    for _ in range(2):  # anew, and behind what could have been kept of its text
        status, error = server.refused("/v1/completions", {**body, "model": "answers", "n": 4})
        assert status == 400
        check_error(error, "answers@1")
        assert server.post("/v1/completions", body).json()["choices"] == before


def test_a_classification_with_an_overflowing_prompt_returns_an_error_that_names_the_prompt(server: Running) -> None:
    status, error = server.refused("/v1/classify", {"model": "reviews", "input": ["a", "the film"]})
    assert status == 400
    check_error(error, "reviews@1")


def bring(server: Running, prompt: SavedPrompt, name: str = "new") -> httpx2.Response:
    files = [("file", each) for each in prompt.files.items()]
    return httpx2.post(f"{server.url}/v1/prompts", data={"name": name}, files=files, timeout=60)


@pytest.mark.parametrize("kind", ["prefix", "before", "after-text"])
@pytest.mark.parametrize("task", [ANSWERS, REVIEWS])
def test_the_upload_of_an_overflowing_prompt_is_rejected_with_its_name(
    server: Running, chatting: FrozenModel, task: Task, kind: str
) -> None:
    answer = bring(server, overflowing(chatting, task, kind), "mine")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid_prompt"
    assert "mine contains values that overflow in the model, the largest 3.3e+38 in virtual token 0" in error["message"]


def test_an_upload_that_overflows_only_in_a_forward_pass_is_rejected(server: Running, chatting: FrozenModel) -> None:
    """Values whose squares are finite may still overflow in a layer: here in its attention scores."""
    values = torch.zeros(chatting.shape.get_prefix_shape(2))
    values[:, 0, :, 1] = LARGE
    values[:, 1, :, 1] = LARGE
    queries = chatting.network.model.layers[0].self_attn.q_proj.weight  # type: ignore[union-attr]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "data", queries.data * 1e25)
        prompt = SavedPrompt.from_payload(
            chatting, KVPrefix(values), ANSWERS, method={"name": "prefix"}, trained_parameters=72
        )
        answer = bring(server, prompt, "mine")
    assert answer.status_code == 400
    assert "in virtual token 1: the model's logits after it are not finite" in answer.json()["error"]["message"]


def test_the_upload_of_a_prompt_that_does_not_overflow_is_accepted(server: Running, chatting: FrozenModel) -> None:
    for placement in (Placement.BEFORE, Placement.AFTER_TEXT):
        assert bring(server, prompt_for(chatting, ANSWERS, 1, placement)).status_code == 201


def test_the_registry_rejects_values_whose_squares_overflow(tmp_path: Path, chatting: FrozenModel) -> None:
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        with pytest.raises(
            NonFiniteOutput, match=r"^mine contains values .* virtual token 0: values above .* cannot be squared"
        ):
            store.register_prompt(overflowing(chatting, ANSWERS, "prefix"), "mine")
        assert store.list_prompts() == []
