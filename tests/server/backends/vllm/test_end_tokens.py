"""Each of a model's end tokens ends a response and is not part of its text, with the engine and with a gateway."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from softprompt.engine import Engine, EngineRequest, SamplingParams, TokenOutput
from softprompt.model import FrozenModel, freeze_network, load_meta_model
from softprompt.server.backends.vllm import VllmBackend
from tests.server.backends.vllm.fake_vllm import Speaking, Vllm, speaking
from tests.server.live_server import BASE, Running, chatting_model, running

COMPLETE = "/v1/completions"
PLACE = 5  # of the token in a greedy response that is to end it


@pytest.fixture(scope="module")
def past() -> list[int]:
    """What the model writes where nothing ends it."""
    told: list[TokenOutput] = []
    engine = Engine(chatting_model(), max_num_seqs=1, max_model_len=60)
    engine.add_request(
        EngineRequest(tuple(asked(chatting_model())), SamplingParams(12, ignore_eos=True)), None, told.append
    )
    while not engine.is_idle:
        engine.step()
    return [each.token_id for each in told if each.token_id is not None]


def asked(model: FrozenModel) -> list[int]:
    return model.prompt_tokenizer.encode_text("the film was")


@pytest.fixture(scope="module")
def ending(past: list[int]) -> FrozenModel:
    """The model, which ends at one of these tokens too."""
    model = chatting_model()
    model.network.generation_config.eos_token_id = [383, past[PLACE], 1]
    return freeze_network(model.network, model.tokenizer, BASE)


@pytest.fixture(scope="module", params=["engine", "gateway"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ending: FrozenModel
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("ending")
    with ExitStack() as stack:
        if request.param == "engine":
            yield stack.enter_context(running(folder / "store", ending))
            return
        ending.network.save_pretrained(folder / BASE)
        ending.tokenizer.save_pretrained(folder / BASE)
        vllm = Vllm(copy.deepcopy(ending), folder / "store" / "prompts")
        replica: Speaking = stack.enter_context(speaking(vllm))
        weightless = load_meta_model(str(folder / BASE))
        yield stack.enter_context(running(folder / "store", weightless, VllmBackend.create_factory([replica.url])))
        assert all(set(body["stop_token_ids"]) <= {383, 1, *ending.eos_token_ids} for body in vllm.asked)
        assert any(set(body["stop_token_ids"]) == set(ending.eos_token_ids) for body in vllm.asked)


def body(**more: Any) -> dict[str, Any]:
    return {"model": BASE, "prompt": "the film was", "max_tokens": 12, "temperature": 0, **more}


def expected(model: FrozenModel, past: list[int]) -> str:
    return str(model.tokenizer.decode(past[: past.index(past[PLACE])]))


def test_a_response_ends_at_any_end_token_with_finish_reason_stop(
    server: Running, ending: FrozenModel, past: list[int]
) -> None:
    answer = server.post(COMPLETE, body(n=2, logprobs=1)).json()
    for choice in answer["choices"]:
        assert (choice["text"], choice["finish_reason"]) == (expected(ending, past), "stop")
        assert len(choice["logprobs"]["tokens"]) == past.index(past[PLACE]) + 1
    assert answer["usage"]["completion_tokens"] == 2 * (past.index(past[PLACE]) + 1)


def test_a_streamed_response_ends_at_any_end_token(server: Running, ending: FrozenModel, past: list[int]) -> None:
    lines = server.post(COMPLETE, body(stream=True)).text.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line and "[DONE]" not in line]
    assert "".join(event["choices"][0]["text"] for event in events) == expected(ending, past)
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_ignore_eos_continues_past_end_tokens(server: Running, ending: FrozenModel, past: list[int]) -> None:
    [choice] = server.post(COMPLETE, body(ignore_eos=True)).json()["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["text"] == ending.tokenizer.decode(past, skip_special_tokens=True)


def test_a_grammar_constrained_response_ends_at_an_end_token(server: Running) -> None:
    answer = server.post(COMPLETE, body(structured_outputs={"regex": "[ab]{3,5}"}))
    assert answer.status_code == 200, answer.text
    [choice] = answer.json()["choices"]
    assert choice["finish_reason"] == "stop"
    assert set(choice["text"]) <= set("ab")
