"""Fixtures: a server that tests share, and its client."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry
from tests.server.live_server import Running, chatting_model, fill, running


@pytest.fixture(scope="session")
def chatting() -> FrozenModel:
    """Tiny random Llama with a chat template."""
    return chatting_model()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel) -> Iterator[Running]:
    """Server without API keys, with a prompt of each task; no test may change its registry."""
    folder = tmp_path_factory.mktemp("served") / "store"
    with PromptRegistry.open(folder, create=True) as store:
        fill(store, chatting)
    with running(folder, chatting) as server:
        yield server


@pytest.fixture
def client(served: Running) -> Iterator[openai.OpenAI]:
    """OpenAI's client, unmodified."""
    with served.client() as openai_client:
        yield openai_client
