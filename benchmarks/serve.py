"""How fast does it serve? Written tokens a second, beside peers in the same run.

    python -m benchmarks.serve --vllm-python .venv-vllm/bin/python --output benchmarks/results/serve.json

Rows of 12 to 29 random tokens, new ones in every round, each behind a prefix of its own. Every row writes the same
number of tokens, greedy, past the end of the text too. The parts:

- tenants: 64 of them at once, beside peft's `generate`, tenant after tenant, with all adapters loaded before. A round
  of peft's takes `--peft-tenants` of them, other ones each time.
- prefixes: as many rows behind as many prefixes, beside the same behind none.
- registered: the same load with 1 to 5,000 prompts in the store (`benchmarks.registered`).
- vllm: 1 to 64 rows, beside vLLM on the CPU with the same prefixes (`benchmarks.vllm_prefix`); `make vllm` installs it.

The ways take turns, so that a machine that slows down slows down for all; the median of the rounds counts, of which the
first warms up. Only one way runs at a time: which part of a core vLLM's processes take while ours runs, and ours while
vLLM's do, is told. `same_rows` is the share of the rows to which both wrote the same tokens. Prints a table for each
part, then one JSON line.
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
from benchmarks.machine import machine
from benchmarks.rows import Answer, Asked
from benchmarks.serving import Ours, Peft, Watched, processor_seconds
from benchmarks.timing import measure
from benchmarks.train import counts
from benchmarks.vllm_peer import Harness, Vllm
from benchmarks.vllm_process import BLOCK
from softprompt.model import CausalModel
from softprompt.model.locating import located
from softprompt.server.process import prepare

CPU = torch.device("cpu")
MEBI = 2**20
# The first one has a thread for the model, which is slower once another thread's calls were divided too.
PARTS = ("registered", "tenants", "prefixes", "vllm")


def main() -> None:
    arguments = parsed()
    arguments.threads = prepare()  # as a server does
    model = softprompt.load_model(arguments.model, device="cpu")
    if isinstance(model, CausalModel) and not arguments.unpacked:
        model.pack()
    parts: dict[str, Callable[[Asked, argparse.Namespace, Path], dict[str, Any]]] = {
        "registered": registered,
        "tenants": tenants,
        "prefixes": prefixes,
        "vllm": vllm,
    }
    found: dict[str, Any] = {}
    for name in (each for each in PARTS if each in arguments.parts):
        asked = Asked(model, arguments.positions, arguments.new_tokens)
        torch.set_num_threads(1 if name == "registered" else arguments.threads)
        with tempfile.TemporaryDirectory() as folder:
            found[name] = parts[name](asked, arguments, Path(folder))
        show(name, found[name])
    command = f"python -m benchmarks.serve {shlex.join(sys.argv[1:])}".strip()
    report = {"benchmark": "serve", "command": command, "machine": machine(), **found}
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=PARTS, metavar="NAME,NAME,…")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--positions", type=int, default=32, help="of each prefix; for vLLM, whole blocks of 32")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rows", type=int, default=64, help="tenants at once")
    parser.add_argument("--peft-tenants", type=int, default=8, help="of a round of peft's")
    parser.add_argument("--vllm-rows", type=counts, default=[1, 4, 16, 64], metavar="N,N,…")
    parser.add_argument("--vllm-python", type=Path, default=Path(".venv-vllm/bin/python"))
    parser.add_argument("--vllm-compiled", action="store_true", help="let vLLM compile the model first: minutes")
    parser.add_argument("--registered", type=counts, default=[1, 10, 100, 1000, 5000], metavar="N,N,…")
    parser.add_argument("--requests", type=int, default=256, help="of a round, with so many registered")
    parser.add_argument("--tier", type=float, default=256, help="MiB of RAM for registered prompts")
    parser.add_argument("--stores", type=Path, help="for their stores; kept, and used again")
    parser.add_argument("--unpacked", action="store_true", help="leave our weights as they were loaded")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if strange := set(arguments.parts) - set(PARTS):
        parser.error(f"--parts {','.join(sorted(strange))}: choose among {', '.join(PARTS)}")
    if "vllm" in arguments.parts and not arguments.vllm_python.is_file():
        parser.error(f"no vLLM at {arguments.vllm_python}: `make vllm` installs it, --parts leaves it out")
    if "vllm" in arguments.parts and arguments.positions % BLOCK:
        parser.error(f"--positions {arguments.positions}: vLLM's prefix cache holds whole blocks of {BLOCK}")
    return arguments


def tenants(asked: Asked, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of them at once, beside peft one after the other."""
    own = softprompt.load_model(arguments.model, device="cpu")  # so that nothing of ours is in its way
    ours, peft = Ours(asked, arguments.rows), Peft(asked, own, arguments.rows, arguments.peft_tenants, folder)
    return compared(asked, arguments, {"softprompt": ours.behind_prefixes, "peft": peft.answer}, goal=16)


def prefixes(asked: Asked, arguments: argparse.Namespace, _folder: Path) -> dict[str, Any]:
    """Behind a prefix of each row's own, beside behind none."""
    ours = Ours(asked, arguments.rows)
    found = compared(asked, arguments, {"prefixes": ours.behind_prefixes, "none": ours.behind_none}, goal=0.95)
    return {name: figure for name, figure in found.items() if name != "same_rows"}  # they are not to be the same


def registered(asked: Asked, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The same load with few prompts in the store and with many."""
    from benchmarks.registered import registered as measured

    return measured(
        asked,
        arguments.registered,
        arguments.requests,
        arguments.rows,
        round(arguments.tier * MEBI),
        arguments.rounds,
        arguments.stores or folder,
        arguments.threads,
    )


def vllm(asked: Asked, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """So many rows behind a prefix each, beside vLLM."""
    most = max(arguments.vllm_rows)
    ours = Ours(asked, most)
    model = located(arguments.model).folder
    connector, log = Harness(asked, most, folder), folder / "vllm.log"
    with Vllm(asked, arguments.vllm_python, model, most, connector, log, arguments.vllm_compiled) as peer:
        answers = {
            "softprompt": Watched(ours.behind_prefixes, peer.processor_seconds),
            "vllm": Watched(peer.answer, processor_seconds),
        }
        ways = {
            f"{name}, {count}": asked.step(f"{name}, {count}", count, answer)
            for count in arguments.vllm_rows
            for name, answer in answers.items()
        }
        speeds = measure(ways, arguments.rounds, CPU)
    found = {
        f"{count}_rows": ratio(asked, speeds, [f"{name}, {count}" for name in answers]) for count in arguments.vllm_rows
    }
    others = {f"cores_taken_while_{name}_ran": round(answer.others, 3) for name, answer in answers.items()}
    return {**found, **others, "goal": 1, **peer.about}


def compared(asked: Asked, arguments: argparse.Namespace, answers: dict[str, Answer], goal: float) -> dict[str, Any]:
    """Two ways to answer all rows."""
    ways = {name: asked.step(name, arguments.rows, answer) for name, answer in answers.items()}
    return {**ratio(asked, measure(ways, arguments.rounds, CPU), list(ways)), "goal": goal}


def ratio(asked: Asked, speeds: dict[str, float], names: Sequence[str]) -> dict[str, Any]:
    """How many times as fast the first of two ways is, and in how many rows they agree."""
    one, other = names
    return {
        "tokens_per_second": {name: round(speeds[name], 1) for name in names},
        "ratio": round(speeds[one] / speeds[other], 3),
        "same_rows": round(asked.agreement(one, other), 3),
    }


def show(part: str, found: dict[str, Any]) -> None:
    """A part's figures as a table."""
    table = Table("way", "tokens/s", "ratio", "same rows", title=f"{part}, goal {found['goal']}")
    for each in [found, *(value for value in found.values() if isinstance(value, dict))]:
        for number, (name, speed) in enumerate(each.get("tokens_per_second", {}).items()):
            ratios = each.get("ratios", {name: each.get("ratio")} if number == 0 else {})
            shares = [ratios.get(name), each.get("same_rows") if number == 0 else None]
            table.add_row(name, f"{speed:.0f}", *("" if share is None else f"{share:.2f}" for share in shares))
    Console().print(table)


if __name__ == "__main__":
    main()
