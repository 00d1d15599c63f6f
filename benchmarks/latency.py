"""Latency of one client on a keep-alive connection, compared with vLLM's own server for the same model.

    python -m benchmarks.latency --output benchmarks/results/latency.json

One client sends one request after the other, each with a new text:

- health: `GET /health`, which is only HTTP;
- one_token: a completion of one token;
- first_token: the first token of a stream;
- four_tokens: a completion of four tokens;
- classify: the label of a text. vLLM has no such endpoint: the comparison is the request that a gateway sends to vLLM,
  a completion of one token with the twenty most probable tokens.

`softprompt serve` requires API keys and serves the base model, and for `classify` a prefix of 16 virtual tokens. vLLM
is its own OpenAI server, with Intel's OpenMP preloaded as its documentation recommends, in eager mode unless
`--vllm-compiled` is passed. Both have float32 weights and generate greedily, also past the end-of-text token. They
alternate within a round, and the idle server is suspended. Results are medians over the rounds after the warm-up.
`ratio` is our time relative to vLLM's. Without vLLM only our server is measured. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.lib.keep_alive_client import KeepAliveClient
from benchmarks.lib.machine_info import describe_environment
from benchmarks.lib.process_suspender import ProcessSuspender
from benchmarks.lib.server_process import CLASSIFICATION_TASK, make_random_prompt, run_server, upload_prompt
from benchmarks.lib.vllm_server import run_vllm_server
from softprompt.model.model_files import resolve_model_files

REQUEST_KINDS = ("health", "one_token", "first_token", "four_tokens", "classify")
MAX_TOP_LOGPROBS = 20  # vLLM's limit
CLASSIFIER_NAME = "labels"

TimedRequest = Callable[[str], float]
"""Asks about a text; gives the seconds that it took."""


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        found = measure_servers(arguments, Path(folder), stack)
    command = f"python -m benchmarks.latency {shlex.join(sys.argv[1:])}".strip()
    report = {"benchmark": "latency", "command": command, "machine": describe_environment(), **found}
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(format_table(report["latency"]))
    print(json.dumps(report))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--warming", type=int, default=5, help="number of warm-up rounds")
    parser.add_argument("--vllm-python", type=Path, default=Path(".venv-vllm/bin/python"))
    parser.add_argument(
        "--vllm-compiled", action="store_true", help="let vLLM compile the model first, which takes minutes"
    )
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def measure_servers(arguments: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Any]:
    """Start the servers and measure them in turn; the exit stack stops them."""
    served = stack.enter_context(run_server(arguments.model, folder))
    upload_prompt(served, CLASSIFIER_NAME, make_random_prompt(served.model, CLASSIFICATION_TASK, seed=0))
    client = stack.enter_context(closing(KeepAliveClient(served.url, served.api_key)))
    sides = {"softprompt": create_own_requests(client, served.base_model)}
    processes = {"softprompt": served.process.pid}
    if arguments.vllm_python.is_file():
        model = resolve_model_files(arguments.model).folder if arguments.model != "tiny" else folder / "tiny"
        peer = run_vllm_server(arguments.vllm_python, model, folder / "vllm.log", is_compiled=arguments.vllm_compiled)
        url, processes["vllm"] = stack.enter_context(peer)
        sides["vllm"] = create_vllm_requests(stack.enter_context(closing(KeepAliveClient(url))))
    else:
        print(f"no vLLM at {arguments.vllm_python} (`make vllm` installs it): ours alone", file=sys.stderr)
    seconds = measure_rounds(sides, arguments.rounds, arguments.warming, ProcessSuspender(processes))
    return {"rounds": arguments.rounds, "latency": compare_sides(seconds)}


def create_own_requests(client: KeepAliveClient, model: str) -> dict[str, TimedRequest]:
    """Create the requests to our server."""
    return {
        **_create_completion_requests(client, model),
        "classify": lambda text: client.post_json("/v1/classify", {"model": CLASSIFIER_NAME, "input": [text]}),
    }


def create_vllm_requests(client: KeepAliveClient) -> dict[str, TimedRequest]:
    """Create the requests to vLLM's server."""
    requests = _create_completion_requests(client, "base")
    return {
        **requests,
        "classify": partial(_time_completion, client, {"model": "base", "max_tokens": 1, "logprobs": MAX_TOP_LOGPROBS}),
    }


def _create_completion_requests(client: KeepAliveClient, model: str) -> dict[str, TimedRequest]:
    return {
        "health": lambda _: client.get_path("/health"),
        "one_token": partial(_time_completion, client, {"model": model, "max_tokens": 1}),
        "first_token": partial(_time_completion, client, {"model": model, "max_tokens": 4, "stream": True}),
        "four_tokens": partial(_time_completion, client, {"model": model, "max_tokens": 4}),
    }


def _time_completion(client: KeepAliveClient, body: Mapping[str, Any], text: str) -> float:
    return client.post_json("/v1/completions", {**body, "prompt": text, "temperature": 0, "ignore_eos": True})


def measure_rounds(
    sides: Mapping[str, Mapping[str, TimedRequest]], rounds: int, warmup_rounds: int, suspender: ProcessSuspender
) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each side for each kind of request, in every round after the warm-up."""
    seconds: dict[str, dict[str, list[float]]] = {side: {kind: [] for kind in REQUEST_KINDS} for side in sides}
    for number in range(-warmup_rounds, rounds):
        for side, requests in sides.items():
            with suspender.suspend_others(side):
                requests["health"]("")  # a process is slow right after its suspension
                for kind in REQUEST_KINDS:
                    took = requests[kind](
                        f"{number + warmup_rounds} {kind}: the film was great fun, and its ending a bore"
                    )
                    if number >= 0:
                        seconds[side][kind].append(took)
    return seconds


def compare_sides(seconds: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Return the medians of each kind of request in milliseconds, and our time relative to vLLM's."""
    found = {}
    for kind in REQUEST_KINDS:
        medians = {side: statistics.median(taken[kind]) for side, taken in seconds.items()}
        found[kind] = {f"{side}_ms": round(1000 * median, 2) for side, median in medians.items()}
        if "vllm" in medians:
            found[kind]["ratio"] = round(medians["softprompt"] / medians["vllm"], 2)
    return found


def format_table(latency: Mapping[str, Mapping[str, float]]) -> str:
    """Format the results as a Markdown table."""
    lines = ["| request | softprompt, ms | vLLM, ms | ratio |", "|---|---|---|---|"]
    for kind, found in latency.items():
        figures = [f"{found[name]:.2f}" if name in found else "–" for name in ("softprompt_ms", "vllm_ms", "ratio")]
        lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(figures)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
