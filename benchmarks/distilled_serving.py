"""What does a distilled text save? Many tenants, each with its own long text, served by three methods.

    python -m benchmarks.distilled_serving --tenants 64 --context-tokens 1000 --virtual-tokens 64
    python -m benchmarks.distilled_serving --backend vllm --vllm-python .venv-vllm/bin/python

Each tenant sends one question; all arrive at once. Its text is in the request and nothing is cached; or in the prefix
cache from that request, when the tenant asks again; or distilled to a few virtual tokens. The text is random and the
prefix is cut from its keys and values: their quality does not matter here, their sizes do. `embedded` is our engine in
this process; `vllm` is vLLM's server with softprompt's plugin, over HTTP with the requests that the gateway sends.

Prints tokens per second, the time to the first token (median and 99th percentile) and the bytes that a tenant needs
between its requests, as a table and as one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import softprompt
from benchmarks.lib.machine_info import describe_environment
from benchmarks.lib.serving_systems import make_saved_prompt
from benchmarks.lib.vllm_server import run_vllm_server
from softprompt.distillation.attention_matching import truncate_prefix
from softprompt.distillation.context import Context
from softprompt.engine import Engine, EngineRequest, SamplingParams, TokenOutput
from softprompt.model import CausalModel, KVPrefix
from softprompt.model.model_files import resolve_model_files
from softprompt.server.backends.vllm.replica_request_body import build_completion_body
from softprompt.vllm_protocol import build_kv_transfer_config

QUESTION_TOKENS, NEW_TOKENS = 24, 32
SAMPLING = SamplingParams(max_new_tokens=NEW_TOKENS, ignore_eos=True)
IN_REQUEST, IN_CACHE = "text in the request", "text in the prefix cache"

TokenRows = list[list[int]]
Serve = Callable[[Sequence[Sequence[int]], Sequence[KVPrefix | None]], list[float]]


def main() -> None:
    arguments = parse_arguments()
    model = softprompt.load_model(arguments.model)
    assert isinstance(model, CausalModel)
    texts, questions = draw_texts(model, arguments)
    with torch.no_grad():
        prefixes = [
            truncate_prefix(model, Context.from_token_ids(text, model).prefix, arguments.virtual_tokens)
            for text in texts
        ]
    measure = {"embedded": measure_engine, "vllm": measure_vllm}[arguments.backend]
    results = measure(model, texts, questions, prefixes, arguments)
    text_bytes = math.prod(model.shape.get_prefix_shape(arguments.context_tokens)) * model.dtype.itemsize
    prefix_bytes = prefixes[0].tensor.numel() * model.dtype.itemsize
    for result, num_bytes in zip(results.values(), (0, text_bytes, prefix_bytes), strict=True):
        result["bytes_per_tenant"] = num_bytes
    print_table(results)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    environment = {"machine": describe_environment(), **settings}
    print(json.dumps({"benchmark": "distilled_serving", **environment, "results": results}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("embedded", "vllm"), default="embedded")
    parser.add_argument("--vllm-python", type=Path, default=Path(".venv-vllm/bin/python"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tenants", type=int, default=64)
    parser.add_argument("--context-tokens", type=int, default=1000)
    parser.add_argument("--virtual-tokens", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.backend == "vllm" and not arguments.vllm_python.is_file():
        parser.error(f"no vLLM at {arguments.vllm_python}: `make vllm` installs it")
    return arguments


def draw_texts(model: CausalModel, arguments: argparse.Namespace) -> tuple[TokenRows, TokenRows]:
    """Draw a text and a question of random tokens for each tenant."""
    generator = torch.Generator().manual_seed(0)
    sizes = (arguments.tenants, arguments.context_tokens + QUESTION_TOKENS)
    rows = torch.randint(10, min(5000, model.shape.vocab_size), sizes, generator=generator).tolist()
    return [row[:-QUESTION_TOKENS] for row in rows], [row[-QUESTION_TOKENS:] for row in rows]


def measure_engine(
    model: CausalModel, texts: TokenRows, questions: TokenRows, prefixes: list[KVPrefix], arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Serve with our engine; its prefix cache has room for all texts."""
    text_bytes = math.prod(model.shape.get_prefix_shape(arguments.context_tokens)) * model.dtype.itemsize
    model.pack_weights()  # as a server does
    engine = Engine(
        model,
        max_num_seqs=arguments.tenants,
        max_model_len=arguments.context_tokens + QUESTION_TOKENS + NEW_TOKENS + 8,
        prefix_cache_bytes=2 * text_bytes * arguments.tenants,
    )

    def serve(rows: Sequence[Sequence[int]], served: Sequence[KVPrefix | None]) -> list[float]:
        first_times = [math.inf] * len(rows)
        started = time.perf_counter()
        for tenant, (token_ids, prefix) in enumerate(zip(rows, served, strict=True)):

            def note_time(_: TokenOutput, tenant: int = tenant) -> None:
                first_times[tenant] = min(first_times[tenant], time.perf_counter() - started)

            name = "no prompt" if prefix is None else "prompt"
            request = EngineRequest(tuple(token_ids), SAMPLING, str(tenant), prompt_digest=f"{name} {tenant}")
            engine.add_request(request, prefix, note_time)
        while not engine.is_idle:
            engine.step()
        return first_times

    return measure_methods(serve, texts, questions, prefixes)


def measure_vllm(
    model: CausalModel, texts: TokenRows, questions: TokenRows, prefixes: list[KVPrefix], arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Serve with vLLM's server, whose KV cache has room for all texts."""
    text_bytes = math.prod(model.shape.get_prefix_shape(arguments.context_tokens)) * model.dtype.itemsize
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digests = {id(prefix): save_prompt(model, prefix, number, folder) for number, prefix in enumerate(prefixes)}
        with run_vllm_server(
            arguments.vllm_python,
            resolve_model_files(arguments.model).folder,
            folder / "vllm.log",
            kv_transfer_config=build_kv_transfer_config(str(folder)),
            kv_cache_gib=math.ceil(1.5 * text_bytes * arguments.tenants / 2**30),
        ) as (url, _):

            def serve(rows: Sequence[Sequence[int]], served: Sequence[KVPrefix | None]) -> list[float]:
                bodies = [
                    build_body(row, tenant, digests.get(id(prefix), ""), 0 if prefix is None else prefix.num_positions)
                    for tenant, (row, prefix) in enumerate(zip(rows, served, strict=True))
                ]
                return asyncio.run(send_requests(url, bodies))

            return measure_methods(serve, texts, questions, prefixes)


def save_prompt(model: CausalModel, prefix: KVPrefix, number: int, folder: Path) -> str:
    """Save a prompt in the folder of its digest, and return the digest."""
    prompt = make_saved_prompt(model, prefix, number)
    digest = prompt.manifest.content_hash.removeprefix("sha256:")
    prompt.save_to(folder / digest)
    return digest


def build_body(token_ids: Sequence[int], tenant: int, digest: str, num_positions: int) -> dict[str, Any]:
    """Build the body that the gateway would send."""
    request = EngineRequest(tuple(token_ids), SAMPLING, str(tenant), prompt_digest=digest or None)
    return {"model": "base", **build_completion_body(request, num_positions, [])}


async def send_requests(url: str, bodies: Sequence[dict[str, Any]]) -> list[float]:
    """Send all requests at once, and return the seconds until the first token of each, after all have ended."""
    async with httpx2.AsyncClient(timeout=None, limits=httpx2.Limits(max_connections=len(bodies))) as client:
        started = time.perf_counter()

        async def send(body: dict[str, Any]) -> float:
            first_time = math.inf
            async with client.stream("POST", f"{url}/v1/completions", json=body) as response:
                if response.status_code != httpx2.codes.OK:
                    raise SystemExit(f"vLLM: {response.status_code} {(await response.aread()).decode()}")
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        first_time = min(first_time, time.perf_counter() - started)
            return first_time

        return await asyncio.gather(*map(send, bodies))


def measure_methods(
    serve: Serve, texts: TokenRows, questions: TokenRows, prefixes: list[KVPrefix]
) -> dict[str, dict[str, float]]:
    """Serve one request of each tenant by each of the three methods; the first fills the cache for the second."""
    no_prefixes = [None] * len(texts)
    serve([row[:4] for row in questions[:2]], no_prefixes[:2])  # warm-up
    requests = [[*text, *question] for text, question in zip(texts, questions, strict=True)]
    num_virtual_tokens = prefixes[0].num_virtual_tokens
    return {
        IN_REQUEST: time_requests(serve, requests, no_prefixes),
        IN_CACHE: time_requests(serve, requests, no_prefixes),
        f"distilled to {num_virtual_tokens}": time_requests(serve, questions, prefixes),
    }


def time_requests(
    serve: Serve, requests: Sequence[Sequence[int]], prefixes: Sequence[KVPrefix | None]
) -> dict[str, float]:
    """Serve requests, and summarize the times."""
    started = time.perf_counter()
    first_times = serve(requests, prefixes)
    seconds = time.perf_counter() - started
    return {
        "tokens_per_second": round(len(requests) * NEW_TOKENS / seconds, 2),
        "first_token_p50_seconds": round(float(np.percentile(first_times, 50)), 3),
        "first_token_p99_seconds": round(float(np.percentile(first_times, 99)), 3),
    }


def print_table(results: dict[str, dict[str, float]]) -> None:
    table = Table("", "tokens/s", "first token p50, s", "p99, s", "MiB a tenant")
    for name, found in results.items():
        seconds = (f"{found[f'first_token_{part}_seconds']:.2f}" for part in ("p50", "p99"))
        table.add_row(name, f"{found['tokens_per_second']:.0f}", *seconds, f"{found['bytes_per_tenant'] / 2**20:.1f}")
    Console(stderr=True).print(table)


if __name__ == "__main__":
    main()
