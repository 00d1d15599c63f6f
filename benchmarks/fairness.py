"""Does one tenant delay another? Latency of small requests during twelve heavy loads of another tenant.

    python -m benchmarks.fairness --model tiny

Two tenants use a `softprompt serve` with API keys, which runs in its own process. One requests four tokens repeatedly;
the other, in another process, sends as much as it may (`lib/heavy_loads.py`). The idle latency is measured before each
load. The goal: a median of at most twice the idle one, and a maximum of at most five times the idle median or two
seconds.

Prints a table, then one JSON line. With `--backend vllm` the server is a gateway, and vLLM schedules its own sequences.
Compare ratios within one run; other programs on the machine slow down both sides.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import torch
from rich.console import Console
from rich.table import Table

import softprompt
from benchmarks.lib.heavy_loads import LOADS
from benchmarks.lib.machine_info import describe_environment
from benchmarks.lib.server_process import (
    CLASSIFICATION_TASK,
    GENERATION_TASK,
    VOCABULARY,
    ServerProcess,
    make_random_prompt,
    run_server,
)
from softprompt.model import FrozenModel, PromptEmbeddings
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, Task

MAX_MEDIAN_RATIO, MAX_WORST_RATIO, MAX_WORST_SECONDS = 2.0, 5.0, 2.0
NUM_LABELS, NUM_PROMPTS, MEBIBYTE = 1800, 16, 2**20


@dataclass(frozen=True)
class FairnessResult:
    """Latencies of the small requests in seconds, and statuses of the heavy ones."""

    load: str
    quiet_median: float
    quiet_worst: float
    median: float
    worst: float
    requests: int
    failed: int
    heavy: dict[str, int]

    @property
    def median_ratio(self) -> float:
        return self.median / self.quiet_median

    @property
    def worst_ratio(self) -> float:
        return self.worst / self.quiet_median

    @property
    def is_fair(self) -> bool:
        """Both goals are met, and no request failed."""
        worst = max(MAX_WORST_RATIO * self.quiet_median, MAX_WORST_SECONDS)
        return not self.failed and self.median_ratio <= MAX_MEDIAN_RATIO and self.worst <= worst


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with run_server(arguments.model, folder, build_server_options(arguments)) as served:
            small = prepare_store(served, folder, arguments)
            results = [measure_load(served, small, load, folder, arguments) for load in arguments.loads]
    print_table(results)
    facts = {
        "benchmark": "fairness",
        "model": arguments.model,
        "backend": arguments.backend,
        "machine": describe_environment(),
    }
    rows = [asdict(each) | {"median_ratio": each.median_ratio, "worst_ratio": each.worst_ratio} for each in results]
    line = json.dumps({**facts, "is_fair": all(each.is_fair for each in results), "loads": rows})
    print(line)
    if arguments.output is not None:
        arguments.output.write_text(line + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="tiny", help="tiny (random weights), or a value of `--model` of `softprompt serve`"
    )
    parser.add_argument("--backend", default="engine", choices=("engine", "vllm"))
    parser.add_argument("--replica", help="with --backend vllm: address of a running vLLM server")
    parser.add_argument("--loads", default=",".join(LOADS), help="comma-separated loads to measure")
    parser.add_argument("--requests", type=int, default=30, help="number of small requests during each load")
    parser.add_argument("--quiet-requests", type=int, default=15, help="number of small requests before each load")
    parser.add_argument("--seconds", type=float, default=40, help="time limit of each load's measurement")
    parser.add_argument(
        "--warm-up", type=float, default=2, help="seconds from the start of a load to the first measurement"
    )
    parser.add_argument("--option", action="append", default=[], help="further option of `softprompt serve`")
    parser.add_argument("--output", type=Path, help="file for the JSON line")
    arguments = parser.parse_args()
    arguments.loads = arguments.loads.split(",")
    if unknown := [load for load in arguments.loads if load not in LOADS]:
        parser.error(f"--loads {unknown[0]}: choose from {', '.join(LOADS)}")
    return arguments


def build_server_options(arguments: argparse.Namespace) -> list[str]:
    """Return options of the server: little memory for prompts, so that they are evicted often."""
    memory = "2" if arguments.model == "tiny" else "64"
    chosen = ["--prompt-cache-mib", memory, "--prefix-cache-mib", "16", *arguments.option]
    if arguments.backend == "vllm":
        chosen += ["--backend", "vllm", *(("--replica", arguments.replica) if arguments.replica else ())]
    return chosen


def prepare_store(server: ServerProcess, folder: Path, arguments: argparse.Namespace) -> str:
    """Create the registry and the files of the loads; return the API key of the tenant with small requests."""
    model, window = server.model, min(2048, server.model.shape.window)
    long = make_embeddings_prompt if arguments.backend == "engine" else make_random_prompt
    with softprompt.PromptRegistry.open(folder / "store") as store:
        store.register_prompt(make_random_prompt(model, CLASSIFICATION_TASK, 0), "tells", tenant="acme")
        for number in range(NUM_PROMPTS):
            store.register_prompt(long(model, GENERATION_TASK, number, window // 2), f"long-{number}", tenant="acme")
        small = store.api_keys.create_key("small", "use")[1]
    labels = tuple(f"{VOCABULARY.split()[number % 20]} label{number}" for number in range(NUM_LABELS))
    make_random_prompt(model, ClassificationTask(labels=labels, template=CLASSIFICATION_TASK.template), 1).save_to(
        folder / "labels"
    )
    material = {
        "base": server.base_model,
        "most_tokens": window - 16,
        "long_texts": [make_long_text(model, window - 8, seed) for seed in range(8)],
        "letter": find_letter_token(model),
        "prompts": [f"long-{number}" for number in range(NUM_PROMPTS)],
    }
    (folder / "material.json").write_text(json.dumps(material))
    return small


def make_embeddings_prompt(model: FrozenModel, task: Task, seed: int, num_virtual_tokens: int) -> SavedPrompt:
    """Make a prompt of random embeddings, which the model must compile first."""
    drawn = 0.1 * torch.randn(
        num_virtual_tokens, model.shape.embedding_size, generator=torch.Generator().manual_seed(seed)
    )
    payload = PromptEmbeddings(drawn)
    return SavedPrompt.from_payload(model, payload, task, method={"name": "prompt"}, trained_parameters=drawn.numel())


def make_long_text(model: FrozenModel, tokens: int, seed: int) -> str:
    """Make a random text of at most `tokens` tokens, and little fewer."""
    drawn, words = random.Random(seed), list[str]()
    while len(model.prompt_tokenizer.encode_text(" ".join(words))) <= tokens:
        words += drawn.choices(VOCABULARY.split(), k=32)
    while len(model.prompt_tokenizer.encode_text(" ".join(words))) > tokens - 4:
        words.pop()
    return " ".join(words)


def find_letter_token(model: FrozenModel) -> dict[str, Any]:
    """Find a token that is one letter."""
    ids = model.tokenizer.encode("a", add_special_tokens=False)
    return {"id": str(ids[0]), "text": model.tokenizer.decode(ids[:1])}


def measure_load(
    server: ServerProcess, api_key: str, load: str, folder: Path, arguments: argparse.Namespace
) -> FairnessResult:
    """Measure the small requests without and with a load."""
    with httpx2.Client(base_url=server.url, headers={"authorization": f"Bearer {api_key}"}, timeout=120) as http:
        quiet = [
            seconds
            for seconds, _ in time_requests(http, server.base_model, arguments.quiet_requests, arguments.seconds)
        ]
        with run_load(server, load, folder) as statuses:
            time.sleep(arguments.warm_up)
            beside = time_requests(http, server.base_model, arguments.requests, arguments.seconds)
        wait_until_quiet(http, server.base_model, median(quiet))
    times = [seconds for seconds, _ in beside]
    failed = sum(status != httpx2.codes.OK for _, status in beside)
    return FairnessResult(load, median(quiet), max(quiet), median(times), max(times), len(times), failed, statuses)


def time_requests(http: httpx2.Client, model: str, count: int, max_seconds: float) -> list[tuple[float, int]]:
    """Send small requests one after the other, and return the seconds and status of each."""
    found: list[tuple[float, int]] = []
    end = time.monotonic() + max_seconds
    while len(found) < count and (time.monotonic() < end or len(found) < 3):
        began = time.monotonic()
        found.append((0.0, send_small_request(http, model)))
        found[-1] = (time.monotonic() - began, found[-1][1])
        time.sleep(0.05)
    return found


def send_small_request(http: httpx2.Client, model: str) -> int:
    body = {"model": model, "prompt": "the film was great", "max_tokens": 4, "temperature": 0, "ignore_eos": True}
    return http.post("/v1/completions", json=body).status_code


def wait_until_quiet(http: httpx2.Client, model: str, usual_seconds: float) -> None:
    """Wait until the effects of a load are over: six requests in a row take as long as usual."""
    end, calm = time.monotonic() + 60, 0
    while calm < 6 and time.monotonic() < end:
        [(seconds, _)] = time_requests(http, model, 1, 60)
        calm = calm + 1 if seconds < 1.25 * usual_seconds else 0


@contextmanager
def run_load(server: ServerProcess, load: str, folder: Path) -> Iterator[dict[str, int]]:
    """Run a load in its own process. The yielded dictionary has its statuses once it has ended."""
    statuses: dict[str, int] = {}
    command = [sys.executable, "-m", "benchmarks.lib.heavy_loads", server.url, server.api_key, load, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield statuses
            output, _ = process.communicate("", timeout=60)
            statuses |= json.loads(output)
        finally:
            process.kill()


def print_table(results: list[FairnessResult]) -> None:
    table = Table("load", "quiet, s", "median, s", "ratio", "worst, s", "ratio", "requests", "failed", "heavy", "fair")
    for each in results:
        heavy = " ".join(f"{status}: {count}" for status, count in each.heavy.items())
        times = (f"{each.quiet_median:.3f}", f"{each.median:.3f}", f"{each.median_ratio:.1f}", f"{each.worst:.2f}")
        ends = (f"{each.worst_ratio:.1f}", str(each.requests), str(each.failed), heavy, "yes" if each.is_fair else "NO")
        table.add_row(LOADS[each.load][2], *times, *ends)
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
