"""What do waiting OpenMP threads cost? Each OpenMP setting with one run, and with two concurrent runs.

    python -m benchmarks.openmp_wait

A child process trains a prefix on the bundled model (or generates: `--work write`) with a thread per core, and measures
the wall-clock seconds of its steps after a warm-up. Each setting runs once alone and once as two processes that start
together; the settings alternate for `--rounds` rounds, and results are medians. Use an idle machine: a third process
changes the results.

Two ratios of each setting: `alone`, its time relative to the default's alone (goal: at most 1.03), and `two`, the time
of two concurrent processes relative to twice the default's alone (goal: at most 1.25). Prints a table, then one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from benchmarks.lib.step_timer import Step
    from softprompt.model import FrozenModel

Environment = Mapping[str, str]

#: The compared settings; "default" is the library's own.
SETTINGS: dict[str, Environment] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},  # softprompt's choice for training
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},  # softprompt's choice for generation
    "spin 30,000": {"GOMP_SPINCOUNT": "30000"},
}
WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    arguments = parse_arguments()
    if arguments.child:
        time_steps(arguments.work, arguments.steps)
        return
    seconds: dict[str, dict[int, list[float]]] = {name: {1: [], 2: []} for name in arguments.settings}
    for _ in range(arguments.rounds):
        for name in arguments.settings:
            for count in (1, 2):
                seconds[name][count].append(run_children(count, SETTINGS[name], arguments.work, arguments.steps))
    found = summarize({name: {n: statistics.median(s) for n, s in each.items()} for name, each in seconds.items()})
    Console().print(tabulate(found))
    print(json.dumps({"work": arguments.work, "steps": arguments.steps, "rounds": arguments.rounds, "settings": found}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=("train", "write"), default="train")
    parser.add_argument("--steps", type=int, default=5, help="measured steps of each process, after a warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", nargs="+", choices=tuple(SETTINGS), default=tuple(SETTINGS))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def run_children(count: int, setting: Environment, work: str, steps: int) -> float:
    """Start processes together, and return the seconds of the slowest."""
    environment = {name: value for name, value in os.environ.items() if name not in WAIT_VARIABLES} | dict(setting)
    command = [sys.executable, "-m", "benchmarks.openmp_wait", "--child", "--work", work, "--steps", str(steps)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    children = [subprocess.Popen(command, env=environment, text=True, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    for child in children:  # each reports when it is ready
        child.stdout.readline()
    for child in children:
        child.stdin.write("begin\n")
        child.stdin.flush()
    return max(float(child.communicate()[0]) for child in children)


def summarize(seconds: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, float]]:
    """Return seconds and ratios of each setting, relative to the default's alone."""
    alone = seconds["default"][1] if "default" in seconds else min(each[1] for each in seconds.values())
    return {
        name: {
            "seconds_alone": round(each[1], 2),
            "seconds_two": round(each[2], 2),
            "alone": round(each[1] / alone, 3),
            "two": round(each[2] / (2 * alone), 3),
        }
        for name, each in seconds.items()
    }


def tabulate(results: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table("setting", "seconds alone", "seconds of two at once", "alone", "two")
    for name, each in results.items():
        table.add_row(name, *(str(each[key]) for key in ("seconds_alone", "seconds_two", "alone", "two")))
    return table


def time_steps(work: str, steps: int) -> None:
    """Run as a child: prepare, wait for the start signal, and print the seconds of the steps."""
    import torch  # before softprompt, which would select a setting

    import softprompt

    model = softprompt.load_model("smollm2-135m", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        step = make_training_step(model, Path(folder)) if work == "train" else make_generation_step(model)
        step()
        print("ready", torch.get_num_threads(), flush=True)
        sys.stdin.readline()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        print(time.perf_counter() - started, flush=True)


def make_training_step(model: FrozenModel, folder: Path) -> Step:
    from benchmarks.lib.random_models import make_random_examples
    from benchmarks.lib.train_steps import ReviewClassification

    return ReviewClassification(model, make_random_examples(200), folder).make_step("prefix")


def make_generation_step(model: FrozenModel) -> Step:
    """Make a step that generates 32 tokens for one text, with weights packed as in the server."""
    from softprompt.evaluation import SamplingParams, generate_texts
    from softprompt.model import GenerativeModel
    from softprompt.tasks import EncodedExample

    assert isinstance(model, GenerativeModel)
    model.pack_weights()
    row = EncodedExample(
        model.prompt_tokenizer.encode_text("The history of the town begins with a ferry across the river.")
    )
    return lambda: len(generate_texts(model, [row], [None], SamplingParams(max_new_tokens=32)))


if __name__ == "__main__":
    main()
