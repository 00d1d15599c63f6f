"""`softprompt serve`: rejected command lines, and a process that is killed under load."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch

from softprompt.model import load_model
from softprompt.registry import PromptRegistry
from softprompt.server.runtime.api_server import ApiServer
from tests.cli.conftest import Softprompt, saved_model
from tests.registry.factories import check_whole
from tests.server.live_server import ANSWERS, prompt_for, running, until


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """Registry with two versions of a prompt for the base model."""
    folder, model = tmp_path_factory.mktemp("serve") / "store", load_model(str(base))
    with PromptRegistry.open(folder, create=True) as store:
        for seed in range(2):
            store.register_prompt(prompt_for(model, ANSWERS, seed), "answers")
    return folder


def test_serve_errors_name_the_invalid_option(softprompt: Softprompt, tmp_path: Path, base: Path, filled: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        softprompt("serve", "--model", base, "--store", filled, "--port", port).refused(str(port), "--port")
    there = ("serve", "--store", filled, "--port", 0)
    softprompt(*there, "--model", tmp_path / "nothing").refused("nothing")
    softprompt(*there).refused("--model")
    softprompt(*there, "--model", base, "--num-threads", 100_000).refused("--num-threads 100000", "1024")
    softprompt(*there, "--model", base, "--host", "0.0.0.0", "--no-auth").refused("keys", "127.0.0.1")
    softprompt("serve", "--model", base, "--store", tmp_path / "none", "--port", 0).refused(
        "no prompt registry in", "prompts add"
    )


@pytest.mark.parametrize(("typed", "given"), [((), 2), (("--num-threads", 1), 1)])
def test_the_engine_thread_has_all_cores_by_default(
    typed: tuple[Any, ...],
    given: int,
    softprompt: Softprompt,
    base: Path,
    filled: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = []

    def ask_and_stop(server: ApiServer, **_: Any) -> None:
        async def asked() -> None:
            backend = server._state.backend
            await backend.start()
            threads.append(await backend.worker.run_between_steps(torch.get_num_threads))
            await backend.stop()

        asyncio.run(asked())

    monkeypatch.setattr(ApiServer, "run", ask_and_stop)
    torch.set_num_threads(2)
    try:
        softprompt("serve", "--model", base, "--store", filled, "--port", 0, *typed)
        assert [*threads, torch.get_num_threads()] == [given, 1]
    finally:
        torch.set_num_threads(1)


def test_serve_rejects_a_registry_with_a_newer_schema(softprompt: Softprompt, tmp_path: Path, base: Path) -> None:
    with PromptRegistry.open(tmp_path / "store", create=True):
        pass
    with sqlite3.connect(tmp_path / "store" / "store.sqlite") as database:
        database.execute("UPDATE softprompt_store SET schema = 99")
    database.close()
    softprompt("serve", "--model", base, "--store", tmp_path / "store", "--port", 0).refused("upgrade softprompt")


def test_serve_rejects_a_model_that_the_engine_cannot_run(softprompt: Softprompt, tmp_path: Path, filled: Path) -> None:
    folder = saved_model(tmp_path / "bert", 0, "bert")
    softprompt("serve", "--model", folder, "--store", filled, "--port", 0).refused("cannot be served")


def test_serve_rejects_a_gateway_without_valid_replicas_or_vllm(
    softprompt: Softprompt, tmp_path: Path, base: Path, filled: Path
) -> None:
    there = ("serve", "--model", base, "--store", filled, "--port", 0)
    softprompt(*there, "--replica", "http://127.0.0.1:1").refused("--backend vllm")
    softprompt(*there, "--backend", "vllm", "--vllm-command", tmp_path / "vllm").refused(
        "--vllm-command", "--replica URL"
    )
    softprompt(*there, "--backend", "vllm", "--replica", "somewhere").refused("http://HOST:PORT")
    folder = saved_model(tmp_path / "bert", 0, "bert")
    bert = ("serve", "--model", folder, "--store", filled, "--port", 0, "--backend", "vllm")
    softprompt(*bert, "--replica", "http://127.0.0.1:1").refused("causal")


@contextmanager
def process(base: Path, store: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server in another process; yield process and URL once it accepts requests."""
    command = [sys.executable, "-m", "softprompt", "serve", "--model", str(base), "--store", str(store)]
    command += ["--port", "0", "--max-model-len", "128"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            address = re.search(r"http://\S+(?=/v1)", said)
            assert address, said
            until(lambda: _is_ready(address[0]))
            yield server, address[0]
        finally:
            server.kill()


def _is_ready(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/ready").status_code == 200
    except httpx2.TransportError:
        return False


def ask(client: openai.OpenAI) -> tuple[str, str]:
    asked: Any = {"model": "answers", "messages": [{"role": "user", "content": "the film"}]}
    answer = client.chat.completions.create(**asked, temperature=0, max_tokens=30, extra_body={"ignore_eos": True})
    return answer.model, answer.choices[0].message.content or ""


def client_of(address: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)


def check_keys(address: str, key: str, other: str) -> None:
    """Check that only requests with a key are answered, with the prompts of the key's tenant."""
    for wrong in ("none", key + "x"):
        with client_of(address, wrong) as client, pytest.raises(openai.AuthenticationError):
            ask(client)
    with client_of(address, other) as client:
        assert len(client.models.list().data) == 1
        with pytest.raises(openai.NotFoundError):
            ask(client)


def until_more(answered: list[Any]) -> None:
    count = len(answered)
    until(lambda: len(answered) > count)


def test_a_server_killed_under_load_leaves_an_intact_registry_and_serves_again(
    base: Path, filled: Path, softprompt: Softprompt
) -> None:
    answered: list[tuple[str, str]] = []

    def load(address: str) -> None:
        with client_of(address, key) as client:
            while True:
                try:
                    answered.append(ask(client))
                except openai.APIError:
                    return

    with process(base, filled) as (server, address), PromptRegistry.open(filled) as store:
        assert server.stdout is not None
        assert "softprompt keys create" in server.stdout.readline()
        key, other = (
            softprompt("keys", "create", "--store", filled, "--tenant", tenant, "--json").json["key"]
            for tenant in ("default", "other")
        )
        check_keys(address, key, other)
        asking = [threading.Thread(target=load, args=(address,)) for _ in range(4)]
        for each in asking:
            each.start()
        for turn in range(8):
            store.activate_version(f"answers@{turn % 2 + 1}")
            until_more(answered)
        server.send_signal(signal.SIGKILL)
        for each in asking:
            each.join(60)
            assert not each.is_alive()
    with PromptRegistry.open(filled) as store:
        check_whole(store)
        assert store.resolve_version("answers").number == 2
    assert len(dict(answered)) == len(set(answered)) == 2
    with running(filled, load_model(str(base))) as again, again.client() as client:
        assert ask(client) in answered
