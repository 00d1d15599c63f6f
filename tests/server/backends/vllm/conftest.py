"""A store of compiled prompts, and gateways in front of replicas that serve it."""

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
    """The chatting model without its weights."""
    folder = tmp_path_factory.mktemp("base") / BASE
    chatting.network.save_pretrained(folder)
    chatting.tokenizer.save_pretrained(folder)
    return load_meta_model(str(folder))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel) -> Path:
    """A store of compiled prompts, and of one that is not."""
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
    """A server with an engine of its own."""
    with running(folder, chatting) as server:
        yield server


@pytest.fixture(scope="session")
def fronting(folder: Path, weightless: FrozenModel) -> Fronting:
    """Makes a gateway in front of replicas."""

    @contextmanager
    def make(*replicas: Speaking, **settings: Any) -> Iterator[Running]:
        with running(
            folder, weightless, VllmBackend.create_factory([each.url for each in replicas]), **settings
        ) as server:
            yield server

    return make


@pytest.fixture(scope="session")
def copies(chatting: FrozenModel) -> list[FrozenModel]:
    """The chatting model for several engines at once: a step says in the network's configuration that it is one."""
    return [copy.deepcopy(chatting) for _ in range(4)]


@pytest.fixture(scope="module")
def replica(folder: Path, copies: list[FrozenModel]) -> Iterator[Speaking]:
    """A replica that nothing happens to."""
    with speaking(Vllm(copies[0], folder / "prompts")) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(replica: Speaking, fronting: Fronting) -> Iterator[Running]:
    """A gateway in front of it. It ends with its module: its looks at replicas would draw from `random` in others."""
    with fronting(replica) as server:
        yield server


@pytest.fixture
def two(folder: Path, copies: list[FrozenModel]) -> Iterator[tuple[Speaking, Speaking]]:
    """Two replicas to do anything to."""
    one, other = (Vllm(copies[i], folder / "prompts") for i in (1, 2))
    with speaking(one) as first, speaking(other) as second:
        yield first, second
