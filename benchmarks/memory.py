"""How much memory does a training step need? The peak above the loaded model, compared with peft.

    python -m benchmarks.memory --shape 1b --rows 4 --length 512 --dtype bfloat16

The model has the shape of Llama 3.2 1B and random weights, whose values do not change the memory. A step is forward
pass, backward pass and the optimizer's update, on sequences of `--length` tokens in one pass with 16 virtual tokens:
for generation, where the second half of each sequence is the response, and for classification, where one word is the
answer. On the CPU the peak is Linux's maximum resident memory, with a process for each variant; on CUDA it is torch's
peak allocation. Prints a table, then one JSON line: MiB above the model, and ours relative to peft's with the same
method. A variant that runs out of memory has no value.
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

from benchmarks.lib.random_models import LABELS, SHAPES, create_random_model
from benchmarks.lib.step_timer import Step
from benchmarks.lib.train_steps import TEMPLATE, P, make_own_step, make_peft_step
from softprompt.comparison.runs.peak_memory import get_peak_memory_bytes, reset_peak_memory
from softprompt.errors import is_out_of_memory_error
from softprompt.model import FrozenModel
from softprompt.model.device_dtype import DTYPES
from softprompt.tasks import ClassificationTask, EncodedExample, GenerationTask, LabelTarget, Objective, ResponseTarget

MEBIBYTE = 2**20
TASKS = ("generation", "classification")


@dataclass(frozen=True)
class TrainingVariant:
    """A variant of training.

    Attributes:
        method: `prefix` or `prompt`.
        library: `peft` or `softprompt`.
        top_half: whether only the top half of the layers trains.
        gradient_checkpointing: whether the backward pass computes the layers again.
    """

    method: str
    library: str
    top_half: bool = False
    gradient_checkpointing: bool = False

    def __str__(self) -> str:
        how = [", top half"] * self.top_half + [", checkpointed"] * self.gradient_checkpointing
        return f"{self.method}, {self.library}{''.join(how)}"


VARIANTS = (
    TrainingVariant("prefix", "peft"),
    TrainingVariant("prefix", "softprompt"),
    TrainingVariant("prefix", "softprompt", top_half=True),
    TrainingVariant("prompt", "peft"),
    TrainingVariant("prompt", "softprompt"),
    TrainingVariant(
        "prefix", "softprompt", gradient_checkpointing=True
    ),  # the last one, because checkpointing stays enabled
)


@dataclass(frozen=True)
class StepSetting:
    """Model and data of a step: keys of `SHAPES` and `DTYPES`, torch's device, number and length of sequences."""

    shape: str
    dtype: str
    device: str
    rows: int
    length: int


Peaks = dict[str, dict[str, float | None]]
"""For each task, of each way: MiB above the model, or None where memory did not suffice."""


def main() -> None:
    setting = parse_arguments()
    peaks = measure_peaks(lambda variant, task: measure_in_subprocess(setting, variant, task))
    print_peaks(peaks, setting)
    options = [f"--{name} {value}" for name, value in asdict(setting).items()]
    command = " ".join(["python -m benchmarks.memory", *options])
    print(json.dumps({"benchmark": "memory", "command": command, **summarize_peaks(peaks)}))


def parse_arguments() -> StepSetting:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return StepSetting(**vars(parser.parse_args()))


def measure_peaks(measure: Callable[[TrainingVariant, str], float | None]) -> Peaks:
    """Measure the peak of every variant for every task."""
    console = Console(stderr=True)
    peaks: Peaks = {task: {} for task in TASKS}
    for variant in VARIANTS:
        for task in TASKS:
            peak = peaks[task][str(variant)] = measure(variant, task)
            console.print(f"{variant}, {task}: {format_figure(peak)} MiB")
    return peaks


def measure_in_subprocess(setting: StepSetting, variant: TrainingVariant, task: str) -> float | None:
    """Measure a peak in a new process, because memory of earlier steps would hide a part of it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["benchmarks.lib.random_models", "benchmarks.lib.train_steps"]
    )  # each process loads the libraries once
    with ProcessPoolExecutor(1, mp_context=context) as process:
        try:
            return process.submit(load_and_measure, setting, variant, task).result()
        except BrokenProcessPool:  # the system killed the process for lack of memory
            return None


def load_and_measure(setting: StepSetting, variant: TrainingVariant, task: str) -> float | None:
    small = replace(setting, shape="tiny", rows=1, length=16)
    for each in (small, setting):  # the small step first, whose permanent allocations are not the model's
        model = create_random_model(each.shape, each.dtype, each.device, [TEMPLATE, *LABELS])
        found = measure_peak(model, each, variant, task)
    return found


def measure_peak(model: FrozenModel, setting: StepSetting, variant: TrainingVariant, task: str) -> float | None:
    """Return the MiB that a step needs above the memory before it, at least 1, or None if memory runs out."""
    held = get_bytes_in_use(model.device)
    step = make_step(model, setting, variant, task)
    reset_peak_memory(model.device)
    try:
        step()
    except RuntimeError as error:
        if not is_out_of_memory_error(error):
            raise
        return None
    return max((get_peak_memory_bytes(model.device) or 0) - held, MEBIBYTE) / MEBIBYTE


def get_bytes_in_use(device: torch.device) -> int:
    """Return the memory in use, in bytes."""
    gc.collect()
    reset_peak_memory(device)  # the peak counts from here
    return get_peak_memory_bytes(device) or 0


def make_step(model: FrozenModel, setting: StepSetting, variant: TrainingVariant, task: str) -> Step:
    objective, rows = make_task(model, task, setting, with_responses=variant.library == "peft")
    if variant.library == "peft":
        return make_peft_step(model, rows, variant.method, setting.rows)
    if variant.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    layers = model.shape.num_layers // 2 if variant.top_half else None
    return make_own_step(objective, rows, variant.method, layers=layers, rows_per_step=setting.rows)


def make_task(
    model: FrozenModel, task: str, setting: StepSetting, with_responses: bool
) -> tuple[Objective, list[EncodedExample]]:
    """Make a task with sequences of random tokens and their answers: labels, or for peft their words."""
    max_length = model.shape.window - P
    ids = torch.randint(model.shape.vocab_size, (setting.rows, setting.length)).tolist()
    if task == "generation":
        half = setting.length // 2
        return GenerationTask().build_objective(model, max_length), [
            EncodedExample(each[:half], ResponseTarget.from_tokens(each[half:])) for each in ids
        ]
    words = [model.prompt_tokenizer.tokenize(f" {label}") for label in LABELS]
    labels = [number % len(LABELS) for number in range(setting.rows)]
    rows = [
        EncodedExample(
            each[: -len(words[label])],
            ResponseTarget.from_tokens(words[label]) if with_responses else LabelTarget(label),
        )
        for each, label in zip(ids, labels, strict=True)
    ]
    return ClassificationTask(template=TEMPLATE, labels=LABELS).build_objective(model, max_length), rows


def summarize_peaks(peaks: Peaks) -> dict[str, Any]:
    """Return the peaks, and ours relative to peft's with the same method."""
    return {
        task: {
            "mebibytes": {name: None if peak is None else round(peak, 2) for name, peak in variants.items()},
            "of_peft": {str(each): compute_share(variants, each) for each in VARIANTS if each.library != "peft"},
        }
        for task, variants in peaks.items()
    }


def compute_share(peaks: dict[str, float | None], variant: TrainingVariant) -> float | None:
    ours, peft = peaks[str(variant)], peaks[str(TrainingVariant(variant.method, "peft"))]
    return None if ours is None or peft is None else round(ours / peft, 3)


def print_peaks(peaks: Peaks, setting: StepSetting) -> None:
    title = f"MiB above the model, a step of {setting.rows} rows of {setting.length} tokens, {setting.dtype}"
    table = Table("variant", *(column for task in peaks for column in (task, "of peft's")), title=title)
    for variant in VARIANTS:
        cells = [cell for peak in peaks.values() for cell in (peak[str(variant)], compute_share(peak, variant))]
        table.add_row(str(variant), *(format_figure(cell) for cell in cells))
    Console().print(table)


def format_figure(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.2f}" if figure < 10 else f"{figure:,.0f}"


if __name__ == "__main__":
    main()
