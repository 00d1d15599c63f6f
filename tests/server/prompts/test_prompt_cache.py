"""The prompt cache loads a prompt once, evicts by size and isolates corrupt prompts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from softprompt.engine import Engine
from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry, PromptVersion
from softprompt.saved import SavedPrompt
from softprompt.server.backends.engine_backend import EngineBackend
from softprompt.server.backends.engine_worker import EngineWorker
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.exception_handlers import to_api_error
from softprompt.server.prompts.prompt_cache import PromptCache
from softprompt.server.request_errors import UnknownModel, UnusablePrompt
from softprompt.server.server_metrics import ServerMetrics
from tests.registry.factories import folder_of
from tests.server.live_server import ANSWERS, REVIEWS, prompt_for
from tests.tiny import tiny_model

COUNT = 4


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, model: FrozenModel) -> Any:
    """Four prompts of a size, and one of another tenant's."""
    with PromptRegistry.open(tmp_path_factory.mktemp("shelf") / "store", create=True) as opened:
        for seed in range(COUNT):
            opened.register_prompt(prompt_for(model, ANSWERS, seed), f"p{seed}")
        opened.register_prompt(prompt_for(model, REVIEWS, 9), "secret", tenant="other")
        yield opened


def on_a_shelf(
    store: PromptRegistry, model: FrozenModel, test: Callable[[PromptCache], Awaitable[None]], memory: int = 2**30
) -> None:
    async def run() -> None:
        worker = EngineWorker(Engine(model, max_num_seqs=2, max_model_len=64), ServerMetrics())
        worker.start()
        try:
            async with asyncio.timeout(60):
                await test(PromptCache(store, model, EngineBackend(worker, model), memory, ServerMetrics()))
        finally:
            await worker.stop()

    asyncio.run(run())


async def got(shelf: PromptCache, name: str, tenant: str = "default") -> LoadedPrompt:
    return await shelf.get_prompt(await shelf.resolve_version(name, tenant))


def counted(monkeypatch: pytest.MonkeyPatch, store: PromptRegistry) -> list[str]:
    read, real = [], store.load_prompt

    def reading(version: PromptVersion) -> SavedPrompt:
        read.append(str(version))
        return real(version)

    monkeypatch.setattr(store, "load_prompt", reading)
    return read


def test_concurrent_requests_share_one_load(
    monkeypatch: pytest.MonkeyPatch, store: PromptRegistry, model: FrozenModel
) -> None:
    read = counted(monkeypatch, store)

    async def test(shelf: PromptCache) -> None:
        found = await asyncio.gather(*(got(shelf, "p0") for _ in range(20)))
        assert len(set(map(id, found))) == 1
        assert await got(shelf, "p0@1") is found[0]
        assert found[0].payload.num_positions >= 3

    on_a_shelf(store, model, test)
    assert read == ["p0@1"]


def test_the_least_recently_used_prompt_is_evicted(
    monkeypatch: pytest.MonkeyPatch, store: PromptRegistry, model: FrozenModel
) -> None:
    read = counted(monkeypatch, store)
    sizes: list[int] = []

    async def size(shelf: PromptCache) -> None:
        sizes.append((await got(shelf, "p0")).num_bytes)

    on_a_shelf(store, model, size)
    read.clear()

    async def test(shelf: PromptCache) -> None:
        for name in ("p0", "p1", "p0", "p2"):  # p1 goes
            await got(shelf, name)
            assert shelf.num_bytes <= 2 * sizes[0]
        assert shelf.num_prompts == 2
        for name in ("p0", "p2"):
            await got(shelf, name)
        assert read == ["p0@1", "p1@1", "p2@1"]
        await got(shelf, "p1")
        assert read[-1] == "p1@1"

    on_a_shelf(store, model, test, memory=2 * sizes[0])

    async def nothing_is_kept(shelf: PromptCache) -> None:
        assert (await got(shelf, "p0")).num_bytes == sizes[0]
        assert shelf.num_prompts == 0

    on_a_shelf(store, model, nothing_is_kept, memory=1)


def test_a_cancelled_request_does_not_cancel_the_shared_load(
    monkeypatch: pytest.MonkeyPatch, store: PromptRegistry, model: FrozenModel
) -> None:
    goes_on, real = threading.Event(), store.load_prompt
    monkeypatch.setattr(store, "load_prompt", lambda version: (goes_on.wait(), real(version))[1])

    async def test(shelf: PromptCache) -> None:
        version = await shelf.resolve_version("p0", "default")
        first, second = (asyncio.create_task(shelf.get_prompt(version)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        assert (await second).task == ANSWERS
        assert first.cancelled()

    on_a_shelf(store, model, test)


def test_another_tenants_prompt_raises_the_same_error_as_a_missing_prompt(
    store: PromptRegistry, model: FrozenModel
) -> None:
    async def test(shelf: PromptCache) -> None:
        assert (await got(shelf, "secret", "other")).task == REVIEWS
        said = []
        for name in ("secret", "nothing"):
            with pytest.raises(UnknownModel) as caught:
                await got(shelf, name)
            error = to_api_error(caught.value)
            said.append((error.status, error.message.replace(name, "…"), error.code))
        assert said[0] == said[1]

    on_a_shelf(store, model, test)


def test_a_corrupt_prompt_does_not_affect_others_and_can_be_repaired(tmp_path: Path, model: FrozenModel) -> None:
    good, damaged = prompt_for(model, ANSWERS, 1), prompt_for(model, ANSWERS, 2)
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        store.register_prompt(good, "good")
        [file] = folder_of(store, store.register_prompt(damaged, "bad")).glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")

        async def test(shelf: PromptCache) -> None:
            for _ in range(2):
                with pytest.raises(UnusablePrompt) as caught:
                    await got(shelf, "bad")
                error = to_api_error(caught.value)
                assert error.status == 503
                assert str(tmp_path) not in error.message
                assert error.headers["x-should-retry"] == "false"
            assert (await got(shelf, "good")).task == ANSWERS
            store.register_prompt(damaged, "bad")
            assert (await got(shelf, "bad")).task == ANSWERS

        on_a_shelf(store, model, test)
