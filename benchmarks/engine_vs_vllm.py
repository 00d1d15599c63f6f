"""When to move from the engine to vLLM: generated tokens per second of both, by the number of concurrent tenants.

    python -m benchmarks.engine_vs_vllm --output benchmarks/results/engine_vs_vllm.json

1, 16, 64 and 256 tenants send one request each: 12 to 29 random tokens, new ones in each round, with a prefix of the
tenant's own or without. Every sequence generates the same number of tokens, greedily, also past the end-of-text token.
Four systems:

- embedded: our engine, as in `softprompt serve`;
- vllm: vLLM with softprompt's plugin, which loads the same prompts by their digests; `make vllm` installs it;
- "embedded, bare" and "vllm, bare": the same without prefixes.

The systems alternate within one run, so that a slower machine slows down all of them, and idle systems are suspended.
Results are medians over the rounds after a warm-up, which also fills vLLM's prefix cache. `of_bare` is the speed with
prefixes relative to without, `vllm_to_embedded` the speed of vLLM relative to the engine, and `same_rows` the share of
the sequences for which both generated the same tokens. Prints the table of docs/when_to_move.md, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import softprompt
from benchmarks.lib.machine_info import describe_environment
from benchmarks.lib.serving_systems import CpuUsageMonitor, EngineSystem, get_cpu_seconds
from benchmarks.lib.serving_workload import GenerateBatch, ServingWorkload
from benchmarks.lib.step_timer import measure_speeds
from benchmarks.lib.vllm_system import PluginConnectorSetup, VllmSystem
from benchmarks.serving_throughput import CPU
from benchmarks.train import parse_counts
from softprompt.model.model_files import resolve_model_files

SYSTEMS = ("embedded", "embedded, bare", "vllm", "vllm, bare")


def main() -> None:
    arguments = parse_arguments()
    model = softprompt.load_model(arguments.model, device="cpu")
    model.pack_weights()  # as a server does
    workload = ServingWorkload(model, arguments.positions, arguments.new_tokens)
    with tempfile.TemporaryDirectory() as folder:
        results = measure_systems(workload, arguments, Path(folder))
    command = f"python -m benchmarks.engine_vs_vllm {shlex.join(sys.argv[1:])}".strip()
    report = {"benchmark": "moving", "command": command, "machine": describe_environment(), **results}
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(format_table(report))
    print(json.dumps(report))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tenants", type=parse_counts, default=[1, 16, 64, 256], metavar="N,N,…")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--positions", type=int, default=32, help="length of each prefix")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--vllm-python", type=Path, default=Path(".venv-vllm/bin/python"))
    parser.add_argument(
        "--vllm-compiled", action="store_true", help="let vLLM compile the model first, which takes minutes"
    )
    parser.add_argument(
        "--space", type=int, default=4, help="size of vLLM's KV cache in GiB; it must hold all sequences"
    )
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if not arguments.vllm_python.is_file():
        parser.error(f"no vLLM at {arguments.vllm_python}: `make vllm` installs it")
    return arguments


def measure_systems(workload: ServingWorkload, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure the speeds of all systems with each number of tenants."""
    most = max(arguments.tenants)
    ours, plugin = EngineSystem(workload, most), PluginConnectorSetup(workload, most, folder)
    model, log = resolve_model_files(arguments.model).folder, folder / "vllm.log"
    with VllmSystem(
        workload, arguments.vllm_python, model, most, plugin, log, arguments.vllm_compiled, arguments.space
    ) as peer:
        answers: dict[str, GenerateBatch] = {
            "embedded": CpuUsageMonitor(ours.generate_with_prefixes, peer.get_cpu_seconds),
            "embedded, bare": CpuUsageMonitor(ours.generate_bare, peer.get_cpu_seconds),
            "vllm": CpuUsageMonitor(peer.generate, get_cpu_seconds),
            "vllm, bare": CpuUsageMonitor(peer.generate_bare, get_cpu_seconds),
        }
        steps = {
            f"{count} {name}": workload.make_step(f"{count} {name}", count, answers[name])
            for count in arguments.tenants
            for name in SYSTEMS
        }
        speeds = measure_speeds(steps, arguments.rounds, CPU)
    others = {
        f"cores_taken_while_{name.replace(', ', '_')}_ran": round(answer.other_cores, 3)
        for name, answer in answers.items()
        if isinstance(answer, CpuUsageMonitor)
    }
    return {
        "tenants": {str(count): compare_systems(workload, speeds, count) for count in arguments.tenants},
        **others,
        **peer.version_info,
    }


def compare_systems(workload: ServingWorkload, speeds: dict[str, float], count: int) -> dict[str, Any]:
    """Compare the systems at one number of tenants."""
    own = {name: speeds[f"{count} {name}"] for name in SYSTEMS}
    return {
        "tokens_per_second": {name: round(speed, 1) for name, speed in own.items()},
        "of_bare": {name: round(own[name] / own[f"{name}, bare"], 3) for name in ("embedded", "vllm")},
        "vllm_to_embedded": round(own["vllm"] / own["embedded"], 3),
        "same_rows": round(workload.compute_agreement(f"{count} embedded", f"{count} vllm"), 3),
    }


def format_table(report: dict[str, Any]) -> str:
    """Format the results as a Markdown table."""
    lines = [
        "| tenants | embedded | embedded, no prefix | vLLM | vLLM, no prefix | vLLM to embedded |",
        "|---|---|---|---|---|---|",
    ]
    for count, result in report["tenants"].items():
        speeds = [f"{speed:.0f}" for speed in result["tokens_per_second"].values()]
        lines.append(f"| {count} | {' | '.join(speeds)} | {result['vllm_to_embedded']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
