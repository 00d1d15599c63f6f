"""Live servers: uvicorn in a thread, on a free port of this machine, with a tiny model."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai

from softprompt.model import FrozenModel, Placement
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from softprompt.server.app_state import AppState
from softprompt.server.backends.engine_backend import EngineBackend
from softprompt.server.backends.inference_backend import BackendFactory
from softprompt.server.runtime.api_server import ApiServer, bind_socket
from softprompt.server.server_config import ServerConfig
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask, Task
from tests.strategies import random_embeddings
from tests.tiny import tiny_model

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
ANSWERS = GenerationTask(template="{input}\nAnswer:")
PAIRS = GenerationTask(template="{name} serves {food}:")
REVIEWS = ClassificationTask(labels=("good", "bad"), template="Review: {text}\nIt is")
BASE = "tiny-llama-0"


def chatting_model() -> FrozenModel:
    """Make a tiny random Llama with a chat template."""
    model = tiny_model("llama")
    model.prompt_tokenizer = model.prompt_tokenizer.clone()
    model.tokenizer.chat_template = CHAT_TEMPLATE
    return model


def prompt_for(model: FrozenModel, task: Task, seed: int = 0, placement: Placement = Placement.BEFORE) -> SavedPrompt:
    """Make a random prompt of three virtual tokens."""
    payload = random_embeddings(model, 3, seed=seed, placement=placement)
    return SavedPrompt.from_payload(model, payload, task, method={"name": "prompt"}, trained_parameters=72)


def fill(store: PromptRegistry, model: FrozenModel) -> None:
    """Register a prompt of each supported task, for the tenant of servers without API keys."""
    store.register_prompt(prompt_for(model, ANSWERS, 0), "answers")
    store.register_prompt(prompt_for(model, ANSWERS, 1), "answers", activate=False)
    store.activate_version("answers@2", alias="canary")
    store.register_prompt(prompt_for(model, ANSWERS, 2, Placement.AFTER_TEXT), "behind")
    store.register_prompt(prompt_for(model, PAIRS, 3), "pairs")
    store.register_prompt(prompt_for(model, ChatTask(), 4), "chat")
    store.register_prompt(prompt_for(model, REVIEWS, 5), "reviews")
    store.register_prompt(prompt_for(tiny_model("llama", seed=7), ANSWERS, 6), "foreign")


@dataclass(frozen=True)
class Running:
    """Running server, with its clients."""

    url: str
    parts: AppState
    server: ApiServer

    @property
    def store(self) -> PromptRegistry:
        return self.parts.registry

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def post(self, path: str, body: Any, **more: Any) -> httpx2.Response:
        content = json.dumps(body)  # ASCII, which can express lone surrogates
        headers = {"content-type": "application/json", **more.pop("headers", {})}
        return httpx2.post(f"{self.url}{path}", content=content, headers=headers, timeout=60, **more)

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(f"{self.url}{path}", timeout=60)

    def refused(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Send a request that must fail; return the status and the error in OpenAI's shape."""
        response = self.post(path, body)
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return response.status_code, error

    @property
    def rows(self) -> int:
        """Number of running and waiting sequences."""
        scheduler = self.parts.backend.worker.engine.scheduler
        return len(scheduler.running) + scheduler.num_waiting


@contextmanager
def running(
    folder: Path, model: FrozenModel, opening: BackendFactory = EngineBackend.from_config, **settings: Any
) -> Iterator[Running]:
    """Run a server with a model and the registry in a folder; without API keys, unless the settings enable them."""
    config = ServerConfig(
        **{
            "port": 0,
            "auth_enabled": False,
            "max_num_seqs": 8,
            "max_model_len": 128,
            "shutdown_timeout": 20.0,
            **settings,
        }
    )
    with PromptRegistry.open(folder, create=True) as store, bind_socket(config) as listening:
        parts = AppState.from_config(config, model, store, opening)
        server = ApiServer(parts)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            until(lambda: server.started)
            yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", parts, server)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def until(holds: Any, seconds: float = 60.0, told: Callable[[], str] = lambda: "it did not come") -> None:
    """Wait until a condition holds; fail with the message of `told` after `seconds`."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, told()
        time.sleep(0.01)
