"""What do threads that wait cost, alone and beside another run? The settings of OpenMP, each alone and two at once.

    python -m benchmarks.openmp_wait

A child process trains a prefix on the embedded model (or writes with it: `--work write`) with a thread a core, and
measures the wall-clock seconds of its steps after one that warms up. Each setting runs once alone and once as two
processes that begin at the same time; the settings take turns for `--rounds` rounds, and the median counts. Run it on a
machine that does nothing else: a third process changes what is measured.

Two ratios of each setting: `alone`, its seconds alone to those of the default alone (goal: at most 1.03), and `two`,
its seconds of two at once to twice those of the default alone (goal: at most 1.25). Prints a table, then one JSON line.
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

#: The settings that are compared; "default" is the library's own.
SETTINGS: dict[str, Environment] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},  # what softprompt chooses where a run trains
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},  # what it chooses where it writes
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
    parser.add_argument("--steps", type=int, default=5, help="of each child, after one that warms up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", nargs="+", choices=tuple(SETTINGS), default=tuple(SETTINGS))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def run_children(count: int, setting: Environment, work: str, steps: int) -> float:
    """The seconds of the slowest of so many processes that begin at the same time."""
    environment = {name: value for name, value in os.environ.items() if name not in WAIT_VARIABLES} | dict(setting)
    command = [sys.executable, "-m", "benchmarks.openmp_wait", "--child", "--work", work, "--steps", str(steps)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    children = [subprocess.Popen(command, env=environment, text=True, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    for child in children:  # each says when it is ready
        child.stdout.readline()
    for child in children:
        child.stdin.write("begin\n")
        child.stdin.flush()
    return max(float(child.communicate()[0]) for child in children)


def summarize(seconds: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, float]]:
    """Seconds and ratios of each setting, by the default's alone."""
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
    """Be a child: get ready, wait for the word to begin, and print the seconds of the steps."""
    import torch  # before softprompt, which would choose a setting

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
    """Thirty-two tokens behind one text, with weights packed as the server packs them."""
    from softprompt.evaluation.text_generation import SamplingParams, generate_texts
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
