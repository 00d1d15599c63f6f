"""Law 10: a swap is atomic. Each response during a swap comes from exactly one version and names it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from softprompt.model import FrozenModel
from tests.server.live_server import ANSWERS, Running, prompt_for, running

VERSIONS, REQUESTS = 3, 60


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel) -> Any:
    with running(tmp_path_factory.mktemp("swapped") / "store", chatting) as server:
        for seed in range(VERSIONS):
            server.store.register_prompt(prompt_for(chatting, ANSWERS, 20 + seed), "reviews")
        yield server


def said(server: Running, model: str) -> tuple[str, str]:
    with server.client() as client:
        answer = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "the film"}],
            max_tokens=10,
            temperature=0,
            logprobs=True,
            extra_body={"ignore_eos": True},
        )
        return answer.model, answer.choices[0].message.content or ""


def test_each_response_during_swaps_comes_from_exactly_one_version(swapped: Running) -> None:
    alone = dict(said(swapped, f"reviews@{number}") for number in range(1, VERSIONS + 1))
    assert len(set(alone.values())) == VERSIONS
    is_over = threading.Event()

    def swap() -> None:
        turn = 0
        while not is_over.is_set():
            swapped.store.activate_version(f"reviews@{turn % VERSIONS + 1}")
            turn += 1

    swapper = threading.Thread(target=swap)
    swapper.start()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: said(swapped, "reviews"), range(REQUESTS)))
    is_over.set()
    swapper.join()
    assert len({version for version, _ in answers}) > 1
    for version, text in answers:
        assert text == alone[version]


def test_requests_after_a_swap_use_the_new_version(swapped: Running) -> None:
    for number in (1, 2, 3, 2):
        swapped.store.activate_version(f"reviews@{number}")
        assert said(swapped, "reviews")[0] == f"reviews@{number}"


def test_a_stream_finishes_with_the_version_it_started_with(swapped: Running) -> None:
    swapped.store.activate_version("reviews@1")
    asked: Any = {
        "model": "reviews",
        "messages": [{"role": "user", "content": "the film"}],
        "max_tokens": 80,
        "temperature": 0,
        "extra_body": {"ignore_eos": True},
    }
    with swapped.client() as client:
        whole = client.chat.completions.create(**asked).choices[0].message.content
        stream = iter(client.chat.completions.create(**asked, stream=True))
        chunks = [next(stream) for _ in range(2)]
        swapped.store.activate_version("reviews@2")
        swapped.store.remove_versions("reviews@1")
        chunks += stream
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert {chunk.model for chunk in chunks} == {"reviews@1"}
