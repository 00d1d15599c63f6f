"""How fast is serving? Generated tokens per second, compared with other systems in the same run.

    python -m benchmarks.serving_throughput --vllm-python .venv-vllm/bin/python --output serving_throughput.json

Inputs are 12 to 29 random tokens, new ones in each round, each with its own prefix. Every sequence generates the same
number of tokens, greedily, also past the end-of-text token. The parts:

- tenants: 64 concurrent tenants, compared with peft's `generate`, one tenant after the other, with all adapters loaded
  before. A round of peft's takes `--peft-tenants` of them, different ones each time.
- prefixes: sequences with distinct prefixes, compared with the same without prefixes.
- registered: the same load with 1 to 5,000 prompts in the registry (`benchmarks.lib.registry_scaling`).
- vllm: 1 to 64 sequences, compared with vLLM on the CPU with the same prefixes (`benchmarks.lib.minimal_connector`);
  `make vllm` installs vLLM.

The systems alternate, so that a slower machine slows down all of them; results are medians over the rounds after a
warm-up. Only one system runs at a time; the output has the CPU usage of the idle ones. `same_rows` is the share of the
sequences for which both generated the same tokens. Prints a table for each part, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import softprompt
from benchmarks.lib.machine_info import describe_environment
from benchmarks.lib.serving_systems import CpuUsageMonitor, EngineSystem, PeftSystem, get_cpu_seconds
from benchmarks.lib.serving_workload import GenerateBatch, ServingWorkload
from benchmarks.lib.step_timer import measure_speeds
from benchmarks.lib.vllm_batch_process import BLOCK_SIZE
from benchmarks.lib.vllm_system import MinimalConnectorSetup, VllmSystem
from benchmarks.train import parse_counts
from softprompt.model import CausalModel
from softprompt.model.model_files import resolve_model_files
from softprompt.server.runtime.torch_process import configure_process

CPU = torch.device("cpu")
MEBIBYTE = 2**20
# `registered` runs the model in its own thread, which is slower after another thread used OpenMP.
PARTS = ("registered", "tenants", "prefixes", "vllm")


def main() -> None:
    arguments = parse_arguments()
    arguments.threads = configure_process()  # like a server
    model = softprompt.load_model(arguments.model, device="cpu")
    if isinstance(model, CausalModel) and not arguments.unpacked:
        model.pack_weights()
    parts: dict[str, Callable[[ServingWorkload, argparse.Namespace, Path], dict[str, Any]]] = {
        "registered": measure_registered,
        "tenants": measure_tenants,
        "prefixes": measure_prefixes,
        "vllm": measure_vllm,
    }
    found: dict[str, Any] = {}
    for name in (each for each in PARTS if each in arguments.parts):
        workload = ServingWorkload(model, arguments.positions, arguments.new_tokens)
        torch.set_num_threads(1 if name == "registered" else arguments.threads)
        with tempfile.TemporaryDirectory() as folder:
            found[name] = parts[name](workload, arguments, Path(folder))
        print_table(name, found[name])
    command = f"python -m benchmarks.serving_throughput {shlex.join(sys.argv[1:])}".strip()
    report = {"benchmark": "serve", "command": command, "machine": describe_environment(), **found}
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=PARTS, metavar="NAME,NAME,…")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--positions", type=int, default=32, help="length of each prefix; for vLLM a multiple of 32")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rows", type=int, default=64, help="concurrent tenants")
    parser.add_argument("--peft-tenants", type=int, default=8, help="tenants of a round with peft")
    parser.add_argument("--vllm-rows", type=parse_counts, default=[1, 4, 16, 64], metavar="N,N,…")
    parser.add_argument("--vllm-python", type=Path, default=Path(".venv-vllm/bin/python"))
    parser.add_argument(
        "--vllm-compiled", action="store_true", help="let vLLM compile the model first, which takes minutes"
    )
    parser.add_argument("--registered", type=parse_counts, default=[1, 10, 100, 1000, 5000], metavar="N,N,…")
    parser.add_argument("--requests", type=int, default=256, help="requests of a round with registered prompts")
    parser.add_argument("--tier", type=float, default=256, help="size of the prompt cache in MiB")
    parser.add_argument("--stores", type=Path, help="folder for their registries, which later runs reuse")
    parser.add_argument("--unpacked", action="store_true", help="do not pack our weights")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if strange := set(arguments.parts) - set(PARTS):
        parser.error(f"--parts {','.join(sorted(strange))}: choose among {', '.join(PARTS)}")
    if "vllm" in arguments.parts and not arguments.vllm_python.is_file():
        parser.error(f"no vLLM at {arguments.vllm_python}: `make vllm` installs it, --parts leaves it out")
    if "vllm" in arguments.parts and arguments.positions % BLOCK_SIZE:
        parser.error(f"--positions {arguments.positions}: vLLM's prefix cache holds whole blocks of {BLOCK_SIZE}")
    return arguments


def measure_tenants(workload: ServingWorkload, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Compare all tenants in one batch with peft, one tenant after the other."""
    own = softprompt.load_model(arguments.model, device="cpu")  # a copy of its own, without our changes
    ours, peft = (
        EngineSystem(workload, arguments.rows),
        PeftSystem(workload, own, arguments.rows, arguments.peft_tenants, folder),
    )
    return compare_systems(
        workload, arguments, {"softprompt": ours.generate_with_prefixes, "peft": peft.generate}, goal=16
    )


def measure_prefixes(workload: ServingWorkload, arguments: argparse.Namespace, _folder: Path) -> dict[str, Any]:
    """Compare sequences with distinct prefixes with the same without prefixes."""
    ours = EngineSystem(workload, arguments.rows)
    found = compare_systems(
        workload, arguments, {"prefixes": ours.generate_with_prefixes, "none": ours.generate_bare}, goal=0.95
    )
    return {name: figure for name, figure in found.items() if name != "same_rows"}  # the texts differ


def measure_registered(workload: ServingWorkload, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure the same load with few and with many prompts in the registry."""
    from benchmarks.lib.registry_scaling import measure_registry_scaling as measured

    return measured(
        workload,
        arguments.registered,
        arguments.requests,
        arguments.rows,
        round(arguments.tier * MEBIBYTE),
        arguments.rounds,
        arguments.stores or folder,
        arguments.threads,
    )


def measure_vllm(workload: ServingWorkload, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Compare sequences with distinct prefixes with vLLM."""
    most = max(arguments.vllm_rows)
    ours = EngineSystem(workload, most)
    model = resolve_model_files(arguments.model).folder
    connector, log = MinimalConnectorSetup(workload, most, folder), folder / "vllm.log"
    with VllmSystem(workload, arguments.vllm_python, model, most, connector, log, arguments.vllm_compiled) as peer:
        answers = {
            "softprompt": CpuUsageMonitor(ours.generate_with_prefixes, peer.get_cpu_seconds),
            "vllm": CpuUsageMonitor(peer.generate, get_cpu_seconds),
        }
        steps = {
            f"{name}, {count}": workload.make_step(f"{name}, {count}", count, answer)
            for count in arguments.vllm_rows
            for name, answer in answers.items()
        }
        speeds = measure_speeds(steps, arguments.rounds, CPU)
    found = {
        f"{count}_rows": compute_ratio(workload, speeds, [f"{name}, {count}" for name in answers])
        for count in arguments.vllm_rows
    }
    others = {f"cores_taken_while_{name}_ran": round(answer.other_cores, 3) for name, answer in answers.items()}
    return {**found, **others, "goal": 1, **peer.version_info}


def compare_systems(
    workload: ServingWorkload, arguments: argparse.Namespace, answers: dict[str, GenerateBatch], goal: float
) -> dict[str, Any]:
    """Compare two systems on all sequences."""
    steps = {name: workload.make_step(name, arguments.rows, answer) for name, answer in answers.items()}
    return {**compute_ratio(workload, measure_speeds(steps, arguments.rounds, CPU), list(steps)), "goal": goal}


def compute_ratio(workload: ServingWorkload, speeds: dict[str, float], names: Sequence[str]) -> dict[str, Any]:
    """Return the speed of the first system relative to the second, and the share of sequences that agree."""
    one, other = names
    return {
        "tokens_per_second": {name: round(speeds[name], 1) for name in names},
        "ratio": round(speeds[one] / speeds[other], 3),
        "same_rows": round(workload.compute_agreement(one, other), 3),
    }


def print_table(part: str, result: dict[str, Any]) -> None:
    """Print the results of a part as a table."""
    table = Table("system", "tokens/s", "ratio", "same rows", title=f"{part}, goal {result['goal']}")
    for each in [result, *(value for value in result.values() if isinstance(value, dict))]:
        for number, (name, speed) in enumerate(each.get("tokens_per_second", {}).items()):
            ratios = each.get("ratios", {name: each.get("ratio")} if number == 0 else {})
            shares = [ratios.get(name), each.get("same_rows") if number == 0 else None]
            table.add_row(name, f"{speed:.0f}", *("" if share is None else f"{share:.2f}" for share in shares))
    Console().print(table)


if __name__ == "__main__":
    main()
