"""Does a server get slower the more prompts are registered? The same load, on stores of one prompt to thousands.

Each prompt has a tenant of its own. Which is asked for is drawn by Zipf's law: the k-th as often as 1/k of the first. A
request goes the server's way below HTTP: its name is resolved in the store, its prompt is taken from the shelf, which
reads it from the disk if it is not there, and the worker's thread writes its answer, many at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.progress import track

from benchmarks.rows import Asked, Batch
from benchmarks.serving import saved
from benchmarks.timing import Step, measure
from softprompt.engine import Engine, Request, Sampling, Written
from softprompt.server.embedded import Embedded
from softprompt.server.metrics import Metrics
from softprompt.server.shelf import Shelf
from softprompt.server.worker import Worker
from softprompt.store import Store

NAME = "support"
MEBI = 2**20
CPU = torch.device("cpu")


class Registered:
    """A store of so many prompts, and the shelf in front of it.

    Args:
        asked: what it will be asked.
        store: with the prompts.
        count: how many there are.
        worker: which all share.
        memory: bytes of RAM for prompts.
        at_once: requests that run together.

    Attributes:
        most: bytes that the prompts in RAM have taken at most.
    """

    def __init__(self, asked: Asked, store: Store, count: int, worker: Worker, memory: int, at_once: int):
        self.count, self.most = count, 0
        self.metrics = Metrics()
        self.asked, self._worker, self._at_once = asked, worker, at_once
        self._shelf = Shelf(store, asked.model, Embedded(worker, asked.model), memory, self.metrics)

    async def answer(self, texts: Batch, number: int) -> Batch:
        """What is written behind each text, and the prompt that is drawn for it."""
        drawn = random.Random(number)
        tenants = drawn.choices(range(self.count), [1 / (k + 1) for k in range(self.count)], k=len(texts))
        turns = asyncio.Semaphore(self._at_once)
        return await asyncio.gather(*(self._one(f"t{t}", text, turns) for t, text in zip(tenants, texts, strict=True)))

    async def _one(self, tenant: str, text: list[int], turns: asyncio.Semaphore) -> list[int]:
        async with turns:
            shelved = await self._shelf.get(await self._shelf.resolve(NAME, tenant))
            self.most = max(self.most, self._shelf.size)
            tokens: list[int] = []
            over = asyncio.get_running_loop().create_future()

            def hear(written: Any) -> None:
                if not isinstance(written, Written):
                    over.set_exception(written)
                    return
                tokens.extend([] if written.token is None else [written.token])
                if written.end is not None:
                    over.set_result(None)

            sampling = Sampling(max_new_tokens=self.asked.new_tokens, ignore_eos=True)
            await self._worker.begin(Request(tuple(text), sampling, tenant), shelved.payload, hear)
            await over
            return tokens

    @property
    def hits(self) -> float:
        """The share of the requests whose prompt was in RAM."""
        where: dict[str, float] = {
            sample.labels["where"]: sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "softprompt_prompt_lookups_total"
        }
        return where.get("memory", 0.0) / sum(where.values())


def registered(
    asked: Asked,
    counts: Sequence[int],
    requests: int,
    at_once: int,
    memory: int,
    rounds: int,
    folder: Path,
    threads: int,
) -> dict[str, Any]:
    """Tokens a second with so many prompts registered, and what they take of the RAM.

    Args:
        asked: what is asked.
        counts: of prompts.
        requests: of a round.
        at_once: those that run together.
        memory: bytes of RAM for prompts.
        rounds: that count.
        folder: for the stores; those that are there already are used again.
        threads: that run the model.

    What the process grows by holds the tier of every count, since each has a shelf, and the rows' keys and values.
    """
    with ExitStack() as stack, asyncio.Runner() as runner:
        stores = {count: stack.enter_context(filled(asked, folder / str(count), count)) for count in counts}
        worker = Worker(Engine(asked.model, slots=at_once, length=asked.length), Metrics(), threads=threads)
        ways = {count: Registered(asked, store, count, worker, memory, at_once) for count, store in stores.items()}
        runner.run(begun(worker))
        before = psutil.Process().memory_info().rss
        try:
            speeds = measure({f"{c}": step_of(way, requests, runner) for c, way in ways.items()}, rounds, CPU)
        finally:
            runner.run(worker.stop())
        grown = psutil.Process().memory_info().rss - before
    first = speeds[f"{counts[0]}"]
    return {
        "tokens_per_second": {count: round(speed, 1) for count, speed in speeds.items()},
        "ratios": {count: round(speed / first, 3) for count, speed in speeds.items()},
        "in_memory": {str(count): shown(asked, way) for count, way in ways.items()},
        "tier_mebibytes": memory / MEBI,
        "rows_mebibytes": round(at_once * asked.length * asked.prefix(0).tensor.nbytes / asked.P / MEBI),
        "process_grew_mebibytes": round(grown / MEBI),
        "goal": 0.9,
    }


def filled(asked: Asked, path: Path, count: int) -> Store:
    """A store of so many prompts, of a tenant each."""
    store = Store.open(path, create=True)
    there = {prompt.tenant for prompt in store.prompts()}
    for number in track(range(len(there), count), f"a store of {count:,}", console=Console(stderr=True)):
        store.add(saved(asked, asked.new_prefix(number), number), NAME, tenant=f"t{number}")
    return store


async def begun(worker: Worker) -> None:
    """Begin to run; what is heard of it comes to this loop."""
    worker.start()


def step_of(way: Registered, requests: int, runner: asyncio.Runner) -> Step:
    """So many requests, as a step."""
    return way.asked.step(f"{way.count} registered", requests, lambda texts, n: runner.run(way.answer(texts, n)))


def shown(asked: Asked, way: Registered) -> dict[str, float]:
    """What a shelf held at most, what all of its store would take, and how often it had what was asked for."""
    everything = way.count * asked.prefix(0).tensor.nbytes
    found = {"most_mebibytes": way.most / MEBI, "all_mebibytes": everything / MEBI, "hits": way.hits}
    return {name: round(figure, 3) for name, figure in found.items()}
