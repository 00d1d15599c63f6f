"""What does a distilled text save? Many tenants, each with its own long text, served in three ways by one engine.

    python -m benchmarks.distilled_serving --tenants 64 --context-tokens 1000 --virtual-tokens 64

Each tenant sends one question; all arrive at once. Its text is in the request, or in the prefix cache from an earlier
request, or distilled to a few virtual tokens. The text is random and the prefix is cut from its keys and values: their
quality does not matter here, their sizes do.

Prints tokens per second, the time to the first token (median and 99th percentile) and the bytes that a tenant needs
between its requests, as a table and as one JSON line.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import softprompt
from benchmarks.lib.machine_info import describe_environment
from softprompt.distillation.attention_matching import truncate_prefix
from softprompt.distillation.context import Context
from softprompt.engine import Engine, EngineRequest, SamplingParams, TokenOutput
from softprompt.model import CausalModel, KVPrefix

QUESTION_TOKENS, NEW_TOKENS = 24, 32


def main() -> None:
    arguments = parse_arguments()
    model = softprompt.load_model(arguments.model)
    assert isinstance(model, CausalModel)
    generator = torch.Generator().manual_seed(0)
    vocab_size = min(5000, model.shape.vocab_size)
    sizes = (arguments.tenants, arguments.context_tokens + QUESTION_TOKENS)
    rows = torch.randint(10, vocab_size, sizes, generator=generator).tolist()
    texts, questions = ([row[:-QUESTION_TOKENS] for row in rows], [row[-QUESTION_TOKENS:] for row in rows])
    with torch.no_grad():
        prefixes = [
            truncate_prefix(model, Context.from_token_ids(text, model).prefix, arguments.virtual_tokens)
            for text in texts
        ]
    text_bytes = math.prod(model.shape.get_prefix_shape(arguments.context_tokens)) * model.dtype.itemsize
    model.pack_weights()
    engine = Engine(
        model,
        max_num_seqs=arguments.tenants,
        max_model_len=arguments.context_tokens + QUESTION_TOKENS + NEW_TOKENS + 8,
        prefix_cache_bytes=2 * text_bytes * arguments.tenants,
    )
    requests = [[*text, *question] for text, question in zip(texts, questions, strict=True)]
    results = {
        "text in the request": measure(engine, requests, [None] * len(texts), is_cached=False),
        "text in the prefix cache": measure(engine, requests, [None] * len(texts), is_cached=True),
        f"distilled to {arguments.virtual_tokens}": measure(engine, questions, prefixes, is_cached=False),
    }
    stored = (0, text_bytes, prefixes[0].tensor.numel() * model.dtype.itemsize)
    for result, num_bytes in zip(results.values(), stored, strict=True):
        result["bytes_per_tenant"] = num_bytes
    print_table(results)
    environment = {"machine": describe_environment(), **vars(arguments)}
    print(json.dumps({"benchmark": "distilled_serving", **environment, "results": results}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tenants", type=int, default=64)
    parser.add_argument("--context-tokens", type=int, default=1000)
    parser.add_argument("--virtual-tokens", type=int, default=64)
    return parser.parse_args()


def measure(
    engine: Engine, requests: Sequence[Sequence[int]], prefixes: Sequence[KVPrefix | None], *, is_cached: bool
) -> dict[str, float]:
    """Serve one request of each tenant, all at once; with `is_cached` once more, when their texts are cached."""
    found = run(engine, requests, prefixes, use_cache=is_cached)
    return run(engine, requests, prefixes, use_cache=True) if is_cached else found


def run(
    engine: Engine, requests: Sequence[Sequence[int]], prefixes: Sequence[KVPrefix | None], *, use_cache: bool
) -> dict[str, float]:
    first_times: dict[int, float] = {}
    sampling = SamplingParams(max_new_tokens=NEW_TOKENS, ignore_eos=True)
    started = time.perf_counter()
    for tenant, (token_ids, prefix) in enumerate(zip(requests, prefixes, strict=True)):

        def note_time(_: TokenOutput, tenant: int = tenant) -> None:
            first_times.setdefault(tenant, time.perf_counter() - started)

        digest = f"text-{tenant}" if use_cache else None
        engine.add_request(
            EngineRequest(tuple(token_ids), sampling, str(tenant), prompt_digest=digest), prefix, note_time
        )
    while not engine.is_idle:
        engine.step()
    seconds = time.perf_counter() - started
    first = np.array(list(first_times.values()))
    return {
        "tokens_per_second": len(requests) * NEW_TOKENS / seconds,
        "first_token_p50_seconds": float(np.percentile(first, 50)),
        "first_token_p99_seconds": float(np.percentile(first, 99)),
    }


def print_table(results: dict[str, dict[str, float]]) -> None:
    table = Table("", "tokens/s", "first token p50, s", "p99, s", "MiB a tenant")
    for name, found in results.items():
        seconds = (f"{found[f'first_token_{part}_seconds']:.2f}" for part in ("p50", "p99"))
        table.add_row(name, f"{found['tokens_per_second']:.0f}", *seconds, f"{found['bytes_per_tenant'] / 2**20:.1f}")
    Console(stderr=True).print(table)


if __name__ == "__main__":
    main()
