"""Fixtures: a registry of compiled prompts, replicas that serve it, and gateways in front of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from softprompt.model import FrozenModel, load_meta_model
from softprompt.registry import PromptRegistry
from softprompt.server.backends.vllm import VllmBackend
from softprompt.tasks import ChatTask, ClassificationTask
from tests.server.backends.vllm.fake_vllm import Speaking, Vllm, speaking
from tests.server.live_server import ANSWERS, BASE, PAIRS, REVIEWS, Running, prompt_for, running

PLACES = ClassificationTask(labels=("great fun", "great film", "bad", "a bore"), template="Review: {text}\nIt is")

Fronting = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="session")
def weightless(tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel) -> FrozenModel:
    """Meta model of the model with a chat template."""
    folder = tmp_path_factory.mktemp("base") / BASE
    chatting.network.save_pretrained(folder)
    chatting.tokenizer.save_pretrained(folder)
    return load_meta_model(str(folder))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel) -> Path:
    """Folder of a registry with compiled prompts, and one prompt that is not compiled."""
    path = tmp_path_factory.mktemp("gateway") / "store"
    with PromptRegistry.open(path, create=True) as store:
        for seed, (name, task) in enumerate(
            {"answers": ANSWERS, "pairs": PAIRS, "chat": ChatTask(), "reviews": REVIEWS, "places": PLACES}.items()
        ):
            store.register_prompt(prompt_for(chatting, task, seed).to_prefix(chatting), name)
        store.register_prompt(prompt_for(chatting, ANSWERS, 9), "embeddings")
    return path


@pytest.fixture(scope="module")
def embedded(folder: Path, chatting: FrozenModel) -> Iterator[Running]:
    """Server with its own engine."""
    with running(folder, chatting) as server:
        yield server


@pytest.fixture(scope="session")
def fronting(folder: Path, weightless: FrozenModel) -> Fronting:
    """Function that runs a gateway in front of replicas."""

    @contextmanager
    def make(*replicas: Speaking, **settings: Any) -> Iterator[Running]:
        with running(
            folder, weightless, VllmBackend.create_factory([replica.url for replica in replicas]), **settings
        ) as server:
            yield server

    return make


@pytest.fixture(scope="session")
def copies(chatting: FrozenModel) -> list[FrozenModel]:
    """Copies of the model, one per engine: the step of an engine changes the network's configuration."""
    return [copy.deepcopy(chatting) for _ in range(4)]


@pytest.fixture(scope="module")
def replica(folder: Path, copies: list[FrozenModel]) -> Iterator[Speaking]:
    """Replica without faults."""
    with speaking(Vllm(copies[0], folder / "prompts")) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(replica: Speaking, fronting: Fronting) -> Iterator[Running]:
    """Gateway in front of the replica. It ends with the module, as its health checks draw from `random`."""
    with fronting(replica) as server:
        yield server


@pytest.fixture
def two(folder: Path, copies: list[FrozenModel]) -> Iterator[tuple[Speaking, Speaking]]:
    """Two replicas that a test may stop or make fail."""
    one, other = (Vllm(copies[i], folder / "prompts") for i in (1, 2))
    with speaking(one) as first, speaking(other) as second:
        yield first, second
