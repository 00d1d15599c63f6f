"""How much memory does a step of training need? The peak above the loaded model, beside peft.

    python -m benchmarks.memory --shape 1b --rows 4 --length 512 --dtype bfloat16

The model has the shape of Llama 3.2 1B and random weights: what a step holds does not depend on what they say. A step
is forward, backward and the optimiser's update, on rows of `--length` tokens in one pass, behind 16 virtual tokens: of
generation, where the second half of each row is the response, and of classification, where one word is the answer. On
the CPU it is the most resident memory of the process, which Linux tells, and each way has a process of its own; on CUDA
it is what torch has allocated. Prints a table, then one JSON line: MiB above the model, and ours as a share of peft's
with the same method. A way that memory does not suffice for has no figure.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.shapes import LABELS, SHAPES, random_model
from benchmarks.timing import Step
from benchmarks.ways import TEMPLATE, P, our_step, peft_step
from softprompt.comparison.memory import forget_peak, peak_bytes
from softprompt.errors import is_out_of_memory
from softprompt.model import FrozenModel
from softprompt.model.precision import DTYPES
from softprompt.tasks import ClassificationTask, GenerationTask, Objective, Row

MEBI = 2**20
TASKS = ("generation", "classification")


@dataclass(frozen=True)
class Way:
    """A way to train.

    Attributes:
        method: `prefix` or `prompt`.
        by: `peft` or `softprompt`.
        top: the top half of the layers alone.
        checkpointed: the layers are computed again in the backward pass.
    """

    method: str
    by: str
    top: bool = False
    checkpointed: bool = False

    def __str__(self) -> str:
        how = [", top half"] * self.top + [", checkpointed"] * self.checkpointed
        return f"{self.method}, {self.by}{''.join(how)}"


WAYS = (
    Way("prefix", "peft"),
    Way("prefix", "softprompt"),
    Way("prefix", "softprompt", top=True),
    Way("prompt", "peft"),
    Way("prompt", "softprompt"),
    Way("prefix", "softprompt", checkpointed=True),  # the last: the model stays so
)


@dataclass(frozen=True)
class Setting:
    """What a step is run on: `SHAPES`, `DTYPES`, torch's name of a device, and the rows' number and tokens."""

    shape: str
    dtype: str
    device: str
    rows: int
    length: int


Peaks = dict[str, dict[str, float | None]]
"""For each task, of each way: MiB above the model, or None where memory did not suffice."""


def main() -> None:
    setting = parsed()
    peaks = peaks_of(lambda way, task: apart(setting, way, task))
    show_peaks(peaks, setting)
    options = [f"--{name} {value}" for name, value in asdict(setting).items()]
    command = " ".join(["python -m benchmarks.memory", *options])
    print(json.dumps({"benchmark": "memory", "command": command, **summary(peaks)}))


def parsed() -> Setting:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return Setting(**vars(parser.parse_args()))


def peaks_of(run: Callable[[Way, str], float | None]) -> Peaks:
    """The peak of every way at every task."""
    console = Console(stderr=True)
    peaks: Peaks = {task: {} for task in TASKS}
    for way in WAYS:
        for task in TASKS:
            found = peaks[task][str(way)] = run(way, task)
            console.print(f"{way}, {task}: {shown(found)} MiB")
    return peaks


def apart(setting: Setting, way: Way, task: str) -> float | None:
    """A way's peak, found in a new process: what another left behind would hide a part of it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.shapes", "benchmarks.ways"])  # so that all load the libraries once
    with ProcessPoolExecutor(1, mp_context=context) as process:
        try:
            return process.submit(loaded_and_run, setting, way, task).result()
        except BrokenProcessPool:  # the system ends a process when memory runs out
            return None


def loaded_and_run(setting: Setting, way: Way, task: str) -> float | None:
    small = replace(setting, shape="tiny", rows=1, length=16)
    for each in (small, setting):  # what a first step leaves in a process for good is none of the model's
        model = random_model(each.shape, each.dtype, each.device, [TEMPLATE, *LABELS])
        found = peak(model, each, way, task)
    return found


def peak(model: FrozenModel, setting: Setting, way: Way, task: str) -> float | None:
    """MiB that a step needs above what is held without it, or None where they are not there.

    One at least: a process may have room left over, and grow by nothing.
    """
    held = in_use(model.device)
    step = step_of(model, setting, way, task)
    forget_peak(model.device)
    try:
        step()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    return max((peak_bytes(model.device) or 0) - held, MEBI) / MEBI


def in_use(device: torch.device) -> int:
    """The bytes held now."""
    gc.collect()
    forget_peak(device)  # from here on the peak is what is held
    return peak_bytes(device) or 0


def step_of(model: FrozenModel, setting: Setting, way: Way, task: str) -> Step:
    objective, rows = task_of(model, task, setting)
    if way.by == "peft":
        return peft_step(model, rows, way.method, setting.rows)
    if way.checkpointed:
        model.checkpoint_gradients()
    layers = model.shape.num_layers // 2 if way.top else None
    return our_step(objective, rows, way.method, layers=layers, rows_per_step=setting.rows)


def task_of(model: FrozenModel, task: str, setting: Setting) -> tuple[Objective, list[Row]]:
    """A task, and rows of random tokens with their answers; ours leaves a label's word to be read off."""
    room = model.shape.window - P
    ids = torch.randint(model.shape.vocab_size, (setting.rows, setting.length)).tolist()
    if task == "generation":
        half = setting.length // 2
        return GenerationTask().bind(model, room), [Row(each[:half], each[half:]) for each in ids]
    words = [model.tokenize(f" {label}") for label in LABELS]
    labels = [number % len(LABELS) for number in range(setting.rows)]
    rows = [Row(each[: -len(words[label])], words[label], label) for each, label in zip(ids, labels, strict=True)]
    return ClassificationTask(template=TEMPLATE, labels=LABELS).bind(model, room), rows


def summary(peaks: Peaks) -> dict[str, Any]:
    """The peaks, and each of ours as a share of peft's with the same method."""
    return {
        task: {
            "mebibytes": {way: None if found is None else round(found, 2) for way, found in ways.items()},
            "of_peft": {str(way): share(ways, way) for way in WAYS if way.by != "peft"},
        }
        for task, ways in peaks.items()
    }


def share(ways: dict[str, float | None], way: Way) -> float | None:
    ours, peft = ways[str(way)], ways[str(Way(way.method, "peft"))]
    return None if ours is None or peft is None else round(ours / peft, 3)


def show_peaks(peaks: Peaks, setting: Setting) -> None:
    title = f"MiB above the model, a step of {setting.rows} rows of {setting.length} tokens, {setting.dtype}"
    table = Table("way", *(column for task in peaks for column in (task, "of peft's")), title=title)
    for way in WAYS:
        cells = [cell for ways in peaks.values() for cell in (ways[str(way)], share(ways, way))]
        table.add_row(str(way), *(shown(cell) for cell in cells))
    Console().print(table)


def shown(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.2f}" if figure < 10 else f"{figure:,.0f}"


if __name__ == "__main__":
    main()
