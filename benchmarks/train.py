"""How fast is training? Useful tokens per second, compared with peft in the same run.

    python -m benchmarks.train --data movie_reviews.train.jsonl

Useful tokens are tokens of the texts, neither padding nor virtual. peft trains as in its tutorials (batches of 4,
padded to 128 tokens, loss over the whole vocabulary), and as a careful user would run it (the same, padded to the
longest sequence, batches of 16). Ours is `PromptTrainable.accumulate_gradients` and the optimizer's update, on batches
of 16 in training's own order; prefixes in the top layers are measured from the second epoch on, with a full
hidden-state cache. Eight prompts in the top half train jointly, compared with eight steps of one in all layers. The
steps alternate, so that a slower machine slows down all of them; results are medians. Prints a table, then one JSON
line with the ratios.

`matrix_rate_share` is our prefix's share of this machine's rate at large float32 products, with the 4N operations that
a useful token needs (forward pass, and the gradient of the hidden states but not of the weights). N is the number of
the layers' weights, because classification computes only two words of the vocabulary.

    python -m benchmarks.train --data movie_reviews.train.jsonl --together 1,2,4,8,16,32,64 --plot together.png

measures only joint steps: the time of N separate steps, each with `--together-rows` examples, relative to one joint
step; for all layers and for the top half. It prints one JSON line too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import softprompt
from benchmarks.lib.gain_plot import plot_gain
from benchmarks.lib.step_timer import measure_joint_gain, measure_matrix_rate, measure_speeds
from benchmarks.lib.train_steps import (
    ReviewClassification,
    compute_speed_ratios,
    count_operations_per_token,
    make_all_steps,
)
from softprompt.data import read_examples

CPU_MATRIX_SIZE = 1536  # rows and columns, enough to use all cores
CPU = torch.device("cpu")


def main() -> None:
    arguments = parse_arguments()
    model = softprompt.load_model(arguments.model, device="cpu")
    examples = read_examples(arguments.data)[:500]
    with tempfile.TemporaryDirectory() as folder:
        reviews = ReviewClassification(model, examples, Path(folder))
        if arguments.together:
            report_joint_gain(reviews, arguments)
        else:
            report_speeds(reviews, arguments.rounds)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--together", type=parse_counts, metavar="N,N,…", help="measure only joint steps of N prompts")
    parser.add_argument("--together-rows", type=int, default=4, help="examples of each prompt per step")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="plot of the gain")
    return parser.parse_args()


def parse_counts(text: str) -> list[int]:
    """Parse comma-separated numbers."""
    return [int(number) for number in text.split(",")]


def report_speeds(reviews: ReviewClassification, rounds: int) -> None:
    model = reviews.model
    speeds = measure_speeds(make_all_steps(reviews), rounds, CPU)
    rate = measure_matrix_rate(CPU, torch.float32, CPU_MATRIX_SIZE)
    share = speeds["prefix, softprompt"] * count_operations_per_token(model) / rate
    print_speeds(speeds, rounds)
    print(
        json.dumps(
            {
                **compute_speed_ratios(speeds, model.shape.num_layers),
                "matrix_rate_share": round(share, 2),
                "useful_tokens_per_second": {name: round(s, 1) for name, s in speeds.items()},
            }
        )
    )


def report_joint_gain(reviews: ReviewClassification, arguments: argparse.Namespace) -> None:
    curves = measure_gain_curves(reviews, arguments.together, arguments.together_rows, arguments.rounds, CPU)
    print_curves(curves, arguments.together_rows, arguments.rounds)
    if arguments.plot is not None:
        plot_gain(curves, f"prefixes trained together, {reviews.model.name}", arguments.plot)
    print(json.dumps({"together": curves, "rows_per_prompt": arguments.together_rows, "rounds": arguments.rounds}))


def measure_gain_curves(
    reviews: ReviewClassification, prompt_counts: Sequence[int], rows: int, rounds: int, device: torch.device
) -> dict[str, dict[int, float]]:
    """Measure the gain of joint steps of N prefixes, in all layers and in the top half."""
    found = {}
    for name, layers in (("all layers", None), ("top half", reviews.model.shape.num_layers // 2)):
        steps = partial(reviews.make_step, "prefix", layers=layers, rows_per_step=rows)
        curve = measure_joint_gain(steps, prompt_counts, rounds, device)
        found[name] = {N: round(ratio, 2) for N, ratio in curve.items()}
    return found


def print_speeds(speeds: dict[str, float], rounds: int) -> None:
    table = Table("step", "useful tokens/s", title=f"training, median of {rounds} steps")
    for name, speed in speeds.items():
        table.add_row(name, f"{speed:.0f}")
    Console().print(table)


def print_curves(curves: dict[str, dict[int, float]], rows: int, rounds: int) -> None:
    title = f"prefixes of {rows} rows together: times as fast as one after the other, median of {rounds}"
    table = Table("prefixes", *curves, title=title)
    for N in next(iter(curves.values())):
        table.add_row(str(N), *(f"{curve[N]:.2f}" for curve in curves.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
