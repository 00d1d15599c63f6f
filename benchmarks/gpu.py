"""Speed and memory of training on an accelerator, in one run with random weights, compared with peft.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --shape tiny

The first command is for one GPU and takes less than eight minutes; the second is a quick trial of the script. The model
has the shape of Llama 3.2 1B and random weights in bfloat16. torch runs eagerly, except in the part that compiles the
modules of the layers that do not use the KV cache. It measures the steps of `benchmarks.train`, with synchronization
before and after each step, then joint steps of N prefixes with four examples each, for N up to 64, relative to N
separate steps (goal: 8 times as fast for 32), then the memory peaks of `benchmarks.memory`, in this process. The texts
have 20 to 60 random words, or are reviews of `--data FILE` (text, label), whose words become the tokens. When
`--budget` seconds are used up, the remaining parts are skipped and listed. Prints tables, then one JSON line; `--plot
FILE` plots the gain over N.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.lib.gain_plot import plot_gain
from benchmarks.lib.random_models import LABELS, SHAPES, create_random_model, make_random_examples
from benchmarks.lib.step_timer import Step, measure_matrix_rate, measure_speeds
from benchmarks.lib.train_steps import (
    TEMPLATE,
    ReviewClassification,
    compute_speed_ratios,
    count_operations_per_token,
    make_all_steps,
)
from benchmarks.memory import StepSetting, measure_peak, measure_peaks, print_peaks, summarize_peaks
from benchmarks.train import CPU_MATRIX_SIZE, measure_gain_curves, parse_counts, print_curves, print_speeds
from softprompt.data import Example, read_examples
from softprompt.model import FrozenModel
from softprompt.model.device_dtype import DTYPES

MIN_ROUNDS = 5
MATRIX_SIZE = 8192  # rows and columns: large enough for an accelerator
#: With another shape a script is tried out, with less of everything.
NUM_EXAMPLES = {"1b": 500, "tiny": 64}
JOINT_COUNTS = {"1b": [1, 2, 4, 8, 16, 32, 64], "tiny": [1, 2, 4]}
GOAL = {"prompts": 32, "times": 8}
PARTS = ("training", "together", "compiled", "memory")  # the last leaves a model that is not fit for timing


def main() -> None:
    arguments = parse_arguments()
    started = time.monotonic()
    examples = load_examples(arguments.data, arguments.examples)
    model = create_random_model(arguments.shape, arguments.dtype, arguments.device, collect_texts(examples))
    found: dict[str, Any] = {}
    left_out = []
    with tempfile.TemporaryDirectory() as folder:
        reviews = ReviewClassification(model, examples, Path(folder))
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "training": lambda: measure_training(reviews, arguments.rounds),
            "together": lambda: measure_joint_training(reviews, arguments),
            "compiled": lambda: measure_compiled_layers(reviews, arguments.rounds),
            "memory": lambda: measure_memory(model, arguments),
        }
        for name in arguments.parts:
            if time.monotonic() - started > arguments.budget:
                left_out.append(name)
                print(f"{name}: left out, since the {arguments.budget} s of the budget were over")
            else:
                found |= parts[name]()
    seconds = round(time.monotonic() - started, 1)
    print(json.dumps({**describe_run(model, arguments), **found, "seconds": seconds, "left_out": left_out}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--rounds", type=parse_rounds, default=MIN_ROUNDS)
    parser.add_argument("--together", type=parse_counts, metavar="N,N,…")
    parser.add_argument("--together-rows", type=int, default=4, help="examples of each prompt per step")
    parser.add_argument("--rows", type=int, default=4, help="sequences of the step whose memory is measured")
    parser.add_argument("--length", type=int, default=512, help="tokens of each of these sequences")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=PARTS, metavar="NAME,NAME,…")
    parser.add_argument("--budget", type=float, default=360, help="seconds after which no further part starts")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    arguments.examples = arguments.examples or NUM_EXAMPLES[arguments.shape]
    arguments.together = arguments.together or JOINT_COUNTS[arguments.shape]
    return arguments


def parse_rounds(text: str) -> int:
    """Parse a number of rounds that is large enough for a median."""
    if int(text) < MIN_ROUNDS:
        raise argparse.ArgumentTypeError(f"{text} rounds: choose at least {MIN_ROUNDS}")
    return int(text)


def load_examples(data: Path | None, count: int) -> Sequence[Example]:
    return make_random_examples(count) if data is None else list(read_examples(data)[:count])


def collect_texts(examples: Sequence[Example]) -> list[str]:
    """Collect the texts whose words become the tokenizer's vocabulary, with the answers and those of `memory`."""
    texts = [TEMPLATE.format(text=example.get_text("text")) + f" {example.get_text('label')}" for example in examples]
    return [*texts, *LABELS * len(texts)]


def measure_training(reviews: ReviewClassification, rounds: int) -> dict[str, Any]:
    """Measure the useful tokens per second of all steps, and their share of the device's matrix rate."""
    model = reviews.model
    speeds = measure_speeds(make_all_steps(reviews), rounds, model.device)
    rate = measure_matrix_rate(
        model.device, model.dtype, CPU_MATRIX_SIZE if model.device.type == "cpu" else MATRIX_SIZE
    )
    share = speeds["prefix, softprompt"] * count_operations_per_token(model) / rate
    print_speeds(speeds, rounds)
    print(f"our prefix reaches {share:.3f} of the device's matrix rate, {rate / 1e12:.1f} Tflop/s")
    return {
        **compute_speed_ratios(speeds, model.shape.num_layers),
        "matrix_rate": rate,
        "matrix_rate_share": round(share, 3),
        "useful_tokens_per_second": {name: round(speed, 1) for name, speed in speeds.items()},
    }


def measure_joint_training(reviews: ReviewClassification, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the gain of joint steps of N prompts."""
    curves = measure_gain_curves(
        reviews, arguments.together, arguments.together_rows, arguments.rounds, reviews.model.device
    )
    print_curves(curves, arguments.together_rows, arguments.rounds)
    if arguments.plot is not None:
        plot_gain(curves, f"prefixes trained together, {reviews.model.name}, {arguments.device}", arguments.plot)
    return {"together": curves, "rows_per_prompt": arguments.together_rows, "goal": GOAL}


def measure_compiled_layers(reviews: ReviewClassification, rounds: int) -> dict[str, Any]:
    """Measure the speedup by compiled layers."""
    layers = reviews.model.family.get_layers(reviews.model.network)
    parts = [part for layer in layers for name, part in layer.named_children() if name != "self_attn"]
    steps = {"eager": reviews.make_step("prefix"), "compiled": make_compiled_step(reviews.make_step("prefix"), parts)}
    speeds = measure_speeds(steps, rounds, reviews.model.device)
    print_speeds(speeds, rounds)
    return {"compiled_vs_eager": round(speeds["compiled"] / speeds["eager"], 2)}


def make_compiled_step(step: Step, modules: Sequence[nn.Module]) -> Step:
    """Return a step that runs with these modules compiled by torch.compile."""
    forwards = [torch.compile(part.forward, dynamic=True) for part in modules]

    def run_step() -> int:
        for part, forward in zip(modules, forwards, strict=True):
            part.forward = forward
        try:
            return step()
        finally:
            for part in modules:
                del part.forward

    return run_step


def measure_memory(model: FrozenModel, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the memory peaks. This part is the last, because it leaves the model unfit for timing."""
    setting = StepSetting(arguments.shape, arguments.dtype, arguments.device, arguments.rows, arguments.length)
    peaks = measure_peaks(lambda variant, task: measure_peak(model, setting, variant, task))
    print_peaks(peaks, setting)
    return {"memory": summarize_peaks(peaks)}


def describe_run(model: FrozenModel, arguments: argparse.Namespace) -> dict[str, Any]:
    """Describe the model and the machine."""
    on = model.device
    return {
        "benchmark": "gpu",
        "device": torch.cuda.get_device_name(on) if on.type == "cuda" else on.type,
        "model": model.name,
        "dtype": arguments.dtype,
        "torch": f"{torch.__version__}, eager",
        "data": "random words" if arguments.data is None else arguments.data.name,
        "rounds": arguments.rounds,
    }


if __name__ == "__main__":
    main()
