"""Does it learn? Accuracy on movie reviews, for each method and seed, beside the hard prompt.

    python -m benchmarks.quality --data FOLDER --methods prompt,prefix --seeds 0,1,2

`prefix@15` is a prefix in the top 15 layers alone; its speed includes the first epoch, in which what lies below is
computed. FOLDER holds movie_reviews.train.jsonl, .validation.jsonl and .test.jsonl (text, label). What is not said here
is softprompt's default: this measures what a user gets. The test set is used once a run, after the best step was chosen
on the validation set. Prints a table, then one JSON line; about six minutes a run on two cores.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import softprompt
from softprompt.data import read_examples

TEMPLATE = "Review: {text}\nSentiment:"


def main() -> None:
    arguments = parsed()
    console = Console(stderr=True)
    model = softprompt.load_model(arguments.model)
    test = read_examples(arguments.data / "movie_reviews.test.jsonl")
    arguments.output.mkdir(parents=True, exist_ok=True)
    train = first_lines(arguments.data / "movie_reviews.train.jsonl", arguments.examples, arguments.output)
    runs: list[dict[str, Any]] = []
    for seed in map(int, arguments.seeds.split(",")):
        for method in arguments.methods.split(","):
            started = time.perf_counter()
            name, _, layers = method.partition("@")
            output = arguments.output / f"{method}-{seed}"
            tuned = softprompt.tune(
                model,
                data=train,
                validation=arguments.data / "movie_reviews.validation.jsonl",
                output=output,
                overwrite=True,
                template=TEMPLATE,
                method=name,
                layers=int(layers) if layers else None,
                steps=arguments.steps,
                evaluate_every=arguments.evaluate_every,
                seed=seed,
            )
            saved = softprompt.SavedPrompt.read(output)
            figures = softprompt.evaluate(model, saved, test, hard_prompt=not runs)
            runs.append(
                {
                    "method": method,
                    "seed": seed,
                    "best": tuned.best,
                    "seconds": time.perf_counter() - started,
                    "useful_tokens_per_second": tuned.useful_tokens_per_second,
                    **figures,
                }
            )
            console.print(f"{method} seed {seed}: {figures['accuracy']:.4f}  ({runs[-1]['seconds']:.0f} s)")
    report(runs, arguments)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/quality"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--methods", default="prompt,prefix")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--evaluate-every", type=int, default=50)
    return parser.parse_args()


def first_lines(path: Path, count: int, folder: Path) -> Path:
    """The first examples of a file, as a file."""
    part = folder / f"train-{count}.jsonl"
    part.write_text("\n".join(path.read_text("utf-8").splitlines()[:count]) + "\n", "utf-8")
    return part


def report(runs: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    hard = runs[0]["hard_prompt"]["accuracy"]
    table = Table("method", "seeds", "mean", "worst", "spread", title=f"test accuracy; hard prompt {hard:.3f}")
    summary: dict[str, Any] = {"hard_prompt": hard}
    for method in dict.fromkeys(run["method"] for run in runs):
        found = [run["accuracy"] for run in runs if run["method"] == method]
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        summary[method] = {"mean": statistics.mean(found), "worst": min(found), "seeds": found}
        table.add_row(method, str(len(found)), f"{statistics.mean(found):.4f}", f"{min(found):.4f}", f"{spread:.4f}")
    Console().print(table)
    command = "python -m benchmarks.quality " + " ".join(
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(arguments).items()
        if name not in ("data", "output")
    )
    print(
        json.dumps(
            {
                **summary,
                "runs": runs,
                "command": command,
                "machine": platform.processor() or platform.machine(),
                "python": sys.version.split()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
