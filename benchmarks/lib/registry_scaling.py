"""Does a server get slower with more registered prompts? The same load on registries of one to thousands of prompts.

Each prompt has its own tenant. The prompt of a request is drawn by Zipf's law: the k-th is requested 1/k times as often
as the first. A request takes the server's path below HTTP: its name is resolved in the registry, its prompt comes from
the prompt cache, which loads it from disk if necessary, and the engine worker generates the response in a batch.
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

from benchmarks.lib.serving_systems import make_saved_prompt
from benchmarks.lib.serving_workload import ServingWorkload, TokenBatch
from benchmarks.lib.step_timer import Step, measure_speeds
from softprompt.engine import Engine, EngineRequest, SamplingParams
from softprompt.registry import PromptRegistry
from softprompt.server.backends.engine_backend import EngineBackend
from softprompt.server.backends.engine_worker import EngineWorker
from softprompt.server.prompts.prompt_cache import PromptCache
from softprompt.server.server_metrics import ServerMetrics

PROMPT_NAME = "support"
MEBIBYTE = 2**20
CPU = torch.device("cpu")


class RegistrySystem:
    """A registry with a number of prompts, and its prompt cache.

    Args:
        workload: inputs of the requests.
        store: the registry.
        num_prompts: number of prompts.
        worker: the engine worker, shared by all systems.
        memory: size of the prompt cache in bytes.
        max_concurrency: number of concurrent requests.

    Attributes:
        max_bytes: largest size of the prompt cache so far, in bytes.
    """

    def __init__(
        self,
        workload: ServingWorkload,
        store: PromptRegistry,
        num_prompts: int,
        worker: EngineWorker,
        memory: int,
        max_concurrency: int,
    ):
        self.num_prompts, self.max_bytes = num_prompts, 0
        self.metrics = ServerMetrics()
        self.workload, self._worker, self._max_concurrency = workload, worker, max_concurrency
        self._prompt_cache = PromptCache(
            store, workload.model, EngineBackend(worker, workload.model), memory, self.metrics
        )

    async def generate(self, texts: TokenBatch, round_index: int) -> TokenBatch:
        """Generate a response to each text with a randomly drawn prompt."""
        drawn = random.Random(round_index)
        tenants = drawn.choices(range(self.num_prompts), [1 / (k + 1) for k in range(self.num_prompts)], k=len(texts))
        turns = asyncio.Semaphore(self._max_concurrency)
        return await asyncio.gather(
            *(self._generate_one(f"t{t}", text, turns) for t, text in zip(tenants, texts, strict=True))
        )

    async def _generate_one(self, tenant: str, text: list[int], slots: asyncio.Semaphore) -> list[int]:
        async with slots:
            loaded_prompt = await self._prompt_cache.get_prompt(
                await self._prompt_cache.resolve_version(PROMPT_NAME, tenant)
            )
            self.max_bytes = max(self.max_bytes, self._prompt_cache.num_bytes)
            sampling = SamplingParams(max_new_tokens=self.workload.new_tokens, ignore_eos=True)
            request = EngineRequest(tuple(text), sampling, tenant)
            handle = await self._worker.submit_request(request, loaded_prompt.payload)
            return [output.token_id async for output in handle if output.token_id is not None]

    @property
    def hit_rate(self) -> float:
        """Share of the requests whose prompt was in the cache."""
        where: dict[str, float] = {
            sample.labels["result"]: sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "softprompt_prompt_cache_lookups_total"
        }
        return where.get("hit", 0.0) / sum(where.values())


def measure_registry_scaling(
    workload: ServingWorkload,
    counts: Sequence[int],
    requests: int,
    max_concurrency: int,
    memory: int,
    rounds: int,
    folder: Path,
    threads: int,
) -> dict[str, Any]:
    """Measure the tokens per second with different numbers of registered prompts, and their memory.

    Args:
        workload: inputs of the requests.
        counts: numbers of registered prompts.
        requests: number of requests per round.
        max_concurrency: number of concurrent requests.
        memory: size of the prompt cache in bytes.
        rounds: number of measured rounds.
        folder: folder of the registries; existing ones are reused.
        threads: number of threads of the model.

    The growth of the process contains a prompt cache for every count, and the KV cache of the sequences.
    """
    with ExitStack() as stack, asyncio.Runner() as runner:
        stores = {
            count: stack.enter_context(open_filled_store(workload, folder / str(count), count)) for count in counts
        }
        worker = EngineWorker(
            Engine(workload.model, max_num_seqs=max_concurrency, max_model_len=workload.max_length),
            ServerMetrics(),
            num_threads=threads,
        )
        systems = {
            count: RegistrySystem(workload, store, count, worker, memory, max_concurrency)
            for count, store in stores.items()
        }
        runner.run(start_worker(worker))
        before = psutil.Process().memory_info().rss
        try:
            speeds = measure_speeds(
                {f"{c}": make_step(system, requests, runner) for c, system in systems.items()}, rounds, CPU
            )
        finally:
            runner.run(worker.stop())
        grown = psutil.Process().memory_info().rss - before
    first = speeds[f"{counts[0]}"]
    return {
        "tokens_per_second": {count: round(speed, 1) for count, speed in speeds.items()},
        "ratios": {count: round(speed / first, 3) for count, speed in speeds.items()},
        "in_memory": {str(count): summarize_memory(workload, system) for count, system in systems.items()},
        "tier_mebibytes": memory / MEBIBYTE,
        "rows_mebibytes": round(
            max_concurrency * workload.max_length * workload.get_prefix(0).tensor.nbytes / workload.P / MEBIBYTE
        ),
        "process_grew_mebibytes": round(grown / MEBIBYTE),
        "goal": 0.9,
    }


def open_filled_store(workload: ServingWorkload, path: Path, num_prompts: int) -> PromptRegistry:
    """Open a registry with a number of prompts, each of its own tenant; create it if necessary."""
    store = PromptRegistry.open(path, create=True)
    there = {prompt.tenant for prompt in store.list_prompts()}
    for number in track(range(len(there), num_prompts), f"a store of {num_prompts:,}", console=Console(stderr=True)):
        store.register_prompt(
            make_saved_prompt(workload.model, workload.make_prefix(number), number), PROMPT_NAME, tenant=f"t{number}"
        )
    return store


async def start_worker(worker: EngineWorker) -> None:
    """Start the engine worker; its callbacks run on this event loop."""
    worker.start()


def make_step(system: RegistrySystem, requests: int, runner: asyncio.Runner) -> Step:
    """Return a step of concurrent requests."""
    return system.workload.make_step(
        f"{system.num_prompts} registered", requests, lambda texts, n: runner.run(system.generate(texts, n))
    )


def summarize_memory(workload: ServingWorkload, system: RegistrySystem) -> dict[str, float]:
    """Return the largest size of the prompt cache, the size of all prompts, and the hit rate."""
    everything = system.num_prompts * workload.get_prefix(0).tensor.nbytes
    found = {
        "most_mebibytes": system.max_bytes / MEBIBYTE,
        "all_mebibytes": everything / MEBIBYTE,
        "hits": system.hit_rate,
    }
    return {name: round(figure, 3) for name, figure in found.items()}
