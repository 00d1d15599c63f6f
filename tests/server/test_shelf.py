"""From the disk to RAM: once however many wait, no more than there is room for, and each failure by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from softprompt.engine import Engine
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.server.embedded import Embedded
from softprompt.server.metrics import Metrics
from softprompt.server.refusal import Refusal
from softprompt.server.shelf import Shelf
from softprompt.server.shelved import Shelved
from softprompt.server.worker import Worker
from softprompt.store import Store, Version
from tests.server.running import ANSWERS, REVIEWS, prompt_for
from tests.store.making import folder_of
from tests.tiny import tiny_model

COUNT = 4


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, model: FrozenModel) -> Any:
    """Four prompts of a size, and one of another tenant's."""
    with Store.open(tmp_path_factory.mktemp("shelf") / "store", create=True) as opened:
        for seed in range(COUNT):
            opened.add(prompt_for(model, ANSWERS, seed), f"p{seed}")
        opened.add(prompt_for(model, REVIEWS, 9), "secret", tenant="other")
        yield opened


def on_a_shelf(store: Store, model: FrozenModel, test: Callable[[Shelf], Awaitable[None]], memory: int = 2**30) -> None:
    async def run() -> None:
        worker = Worker(Engine(model, slots=2, length=64), Metrics())
        worker.start()
        try:
            async with asyncio.timeout(60):
                await test(Shelf(store, model, Embedded(worker, model), memory, Metrics()))
        finally:
            await worker.stop()

    asyncio.run(run())


async def got(shelf: Shelf, name: str, tenant: str = "default") -> Shelved:
    return await shelf.get(await shelf.resolve(name, tenant))


def counted(monkeypatch: pytest.MonkeyPatch, store: Store) -> list[str]:
    read, real = [], store.read

    def reading(version: Version) -> SavedPrompt:
        read.append(str(version))
        return real(version)

    monkeypatch.setattr(store, "read", reading)
    return read


def test_a_prompt_is_fetched_once_however_many_wait(
    monkeypatch: pytest.MonkeyPatch, store: Store, model: FrozenModel
) -> None:
    read = counted(monkeypatch, store)

    async def test(shelf: Shelf) -> None:
        found = await asyncio.gather(*(got(shelf, "p0") for _ in range(20)))
        assert len(set(map(id, found))) == 1
        assert await got(shelf, "p0@1") is found[0]
        assert found[0].payload.num_positions >= 3

    on_a_shelf(store, model, test)
    assert read == ["p0@1"]


def test_memory_is_bounded_and_the_least_lately_used_goes(
    monkeypatch: pytest.MonkeyPatch, store: Store, model: FrozenModel
) -> None:
    read = counted(monkeypatch, store)
    sizes: list[int] = []

    async def size(shelf: Shelf) -> None:
        sizes.append((await got(shelf, "p0")).size)

    on_a_shelf(store, model, size)
    read.clear()

    async def test(shelf: Shelf) -> None:
        for name in ("p0", "p1", "p0", "p2"):  # p1 goes
            await got(shelf, name)
            assert shelf.size <= 2 * sizes[0]
        assert shelf.count == 2
        for name in ("p0", "p2"):
            await got(shelf, name)
        assert read == ["p0@1", "p1@1", "p2@1"]
        await got(shelf, "p1")
        assert read[-1] == "p1@1"

    on_a_shelf(store, model, test, memory=2 * sizes[0])

    async def nothing_is_kept(shelf: Shelf) -> None:
        assert (await got(shelf, "p0")).size == sizes[0]
        assert shelf.count == 0

    on_a_shelf(store, model, nothing_is_kept, memory=1)


def test_whoever_goes_away_leaves_the_fetching_to_others(
    monkeypatch: pytest.MonkeyPatch, store: Store, model: FrozenModel
) -> None:
    goes_on, real = threading.Event(), store.read
    monkeypatch.setattr(store, "read", lambda version: (goes_on.wait(), real(version))[1])

    async def test(shelf: Shelf) -> None:
        version = await shelf.resolve("p0", "default")
        first, second = (asyncio.create_task(shelf.get(version)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        assert (await second).task == ANSWERS
        assert first.cancelled()

    on_a_shelf(store, model, test)


def test_anothers_prompt_is_as_unknown_as_none(store: Store, model: FrozenModel) -> None:
    async def test(shelf: Shelf) -> None:
        assert (await got(shelf, "secret", "other")).task == REVIEWS
        said = []
        for name in ("secret", "nothing"):
            with pytest.raises(Refusal) as caught:
                await got(shelf, name)
            said.append((caught.value.status, caught.value.message.replace(name, "…"), caught.value.code))
        assert said[0] == said[1]

    on_a_shelf(store, model, test)


def test_a_damaged_prompt_fails_alone_and_can_be_mended(tmp_path: Path, model: FrozenModel) -> None:
    good, damaged = prompt_for(model, ANSWERS, 1), prompt_for(model, ANSWERS, 2)
    with Store.open(tmp_path / "store", create=True) as store:
        store.add(good, "good")
        [file] = folder_of(store, store.add(damaged, "bad")).glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")

        async def test(shelf: Shelf) -> None:
            for _ in range(2):
                with pytest.raises(Refusal) as caught:
                    await got(shelf, "bad")
                assert caught.value.status == 503
                assert str(tmp_path) not in caught.value.message
                assert caught.value.headers["x-should-retry"] == "false"
            assert (await got(shelf, "good")).task == ANSWERS
            store.add(damaged, "bad")
            assert (await got(shelf, "bad")).task == ANSWERS

        on_a_shelf(store, model, test)
