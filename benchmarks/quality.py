"""Does tuning work? Accuracy and loss on held-out texts, for each dataset, method and seed, and the hard prompt's.

    python -m benchmarks.quality --data FOLDER --methods prompt,prefix --seeds 0,1,2
    python -m benchmarks.quality --data FOLDER --model FILE --sets movie_reviews,shop_reviews_zh,support

All other settings are softprompt's defaults, so this measures what a user gets, on any model `--model`. `prefix@15` is
a prefix in the top 15 layers; its speed includes the first epoch, which fills the hidden-state cache. FOLDER has
movie_reviews.train.jsonl, .validation.jsonl and .test.jsonl, and shop_reviews_zh.jsonl (text, label), whose last 200
records are the test set and the 100 before them the validation set; `support` is in the package. A test set is used
once per run, after the best step was selected on the validation set.

Prints a table, then one JSON line. On two cores a run of the bundled model with 100 steps takes about six minutes.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import softprompt
from softprompt.cli.demo_command import TEMPLATE as SUPPORT
from softprompt.data import read_examples
from softprompt.model import FrozenModel

Split = dict[str, list[str]]
"""The lines of `train`, `validation` and `test`."""


@dataclass(frozen=True)
class TextDataset:
    """A dataset of labeled texts.

    Attributes:
        template: the template of the prompts.
        load_splits: function from the data folder to the lines of each split.
    """

    template: str
    load_splits: Callable[[Path], Split]


def main() -> None:
    arguments = parse_arguments()
    console = Console(stderr=True)
    model = softprompt.load_model(arguments.model)
    runs: list[dict[str, Any]] = []
    sets = {name: write_splits(name, arguments) for name in arguments.sets.split(",")}
    for name, parts in sets.items():
        for seed in map(int, arguments.seeds.split(",")):
            for method in arguments.methods.split(","):
                is_first = all(each["set"] != name for each in runs)
                runs.append(found := tune_and_evaluate(model, name, parts, method, seed, is_first, arguments))
                console.print(
                    f"{name}, {method}, seed {seed}: {found['accuracy']:.3f}, loss {found['loss']:.3f}; hard prompt "
                    f"{format_metrics(find_hard_prompt(runs, name))}; "
                    f"validation {format_metrics(found['best'])}, hard prompt "
                    f"{format_metrics(found['validation_hard_prompt'])}, untrained {format_metrics(found['start'])}  "
                    f"({found['seconds']:.0f} s)"
                )
    print_report(runs, arguments)


def tune_and_evaluate(
    model: FrozenModel,
    name: str,
    parts: dict[str, Path],
    method: str,
    seed: int,
    is_first: bool,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Tune one prompt and evaluate it on the test set; the first of a dataset also the hard prompt."""
    started = time.perf_counter()
    kind, _, layers = method.partition("@")
    output = arguments.output / f"{name}-{method}-{seed}"
    tuned = softprompt.tune(
        model,
        data=parts["train"],
        validation=parts["validation"],
        output=output,
        overwrite=True,
        template=DATASETS[name].template,
        method=kind,
        layers=int(layers) if layers else None,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        evaluate_every=arguments.evaluate_every,
        seed=seed,
    )
    saved = softprompt.SavedPrompt.from_folder(output)
    figures = softprompt.evaluate(model, saved, read_examples(parts["test"]), hard_prompt=is_first)
    losses = [line["loss"] for line in read_metrics_log(output) if "loss" in line]
    return {
        "set": name,
        "method": method,
        "seed": seed,
        "best": tuned.best,
        "start": tuned.baselines.untrained_prompt,
        "validation_hard_prompt": tuned.baselines.hard_prompt,
        "first_losses": losses[:5],
        "seconds": time.perf_counter() - started,
        "useful_tokens_per_second": tuned.useful_tokens_per_second,
        "hard_prompt": None,
        **figures,
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/quality"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--sets", default="movie_reviews", help=f"comma-separated datasets: {', '.join(DATASETS)}")
    parser.add_argument("--methods", default="prompt,prefix")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--examples", type=int, default=500, help="maximum number of training examples")
    parser.add_argument("--validation-examples", type=int, default=400, help="maximum number of validation examples")
    parser.add_argument("--test-examples", type=int, default=1000, help="maximum number of test examples")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--evaluate-every", type=int)
    return parser.parse_args()


def load_movie_reviews(folder: Path) -> Split:
    return {part: read_lines(folder / f"movie_reviews.{part}.jsonl") for part in ("train", "validation", "test")}


def load_shop_reviews_zh(folder: Path) -> Split:
    rows = read_lines(folder / "shop_reviews_zh.jsonl")
    return {"train": rows[:-300], "validation": rows[-300:-200], "test": rows[-200:]}


def load_support(_: Path) -> Split:
    folder = Path(str(files("softprompt") / "demo"))
    return {part: read_lines(folder / f"messages.{part}.jsonl") for part in ("train", "validation", "test")}


DATASETS = {
    "movie_reviews": TextDataset("Review: {text}\nSentiment:", load_movie_reviews),
    "shop_reviews_zh": TextDataset("{text}\n总体评价：", load_shop_reviews_zh),
    "support": TextDataset(SUPPORT, load_support),
}


def read_lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def write_splits(name: str, arguments: argparse.Namespace) -> dict[str, Path]:
    """Write the first examples of each split of a dataset to files."""
    counts = {
        "train": arguments.examples,
        "validation": arguments.validation_examples,
        "test": arguments.test_examples,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    for part, rows in DATASETS[name].load_splits(arguments.data).items():
        found[part] = arguments.output / f"{name}.{part}.jsonl"
        found[part].write_text("\n".join(rows[: counts[part]]) + "\n", "utf-8")
    return found


def read_metrics_log(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_lines(output.with_name(output.name + ".run") / "metrics.jsonl")]


def format_metrics(metrics: dict[str, float] | None) -> str:
    return "none" if metrics is None else f"{metrics['accuracy']:.3f}, loss {metrics['loss']:.3f}"


def find_hard_prompt(runs: list[dict[str, Any]], name: str) -> dict[str, float] | None:
    """Return the hard prompt's metrics on a dataset's test set; None if the template defines no task."""
    found: dict[str, float] | None = next((run["hard_prompt"] for run in runs if run["set"] == name), None)
    return found


def print_report(runs: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    columns = ("set", "method", "seeds", "hard prompt", "accuracy", "worst", "spread", "hard prompt's loss", "loss")
    table = Table(*columns, title="on the test set")
    summary: list[dict[str, Any]] = []
    for name, method in dict.fromkeys((run["set"], run["method"]) for run in runs):
        found = [run for run in runs if (run["set"], run["method"]) == (name, method)]
        summary.append(cell := summarize_runs(name, method, found, find_hard_prompt(runs, name)))
        table.add_row(name, method, *(format_figure(cell[column]) for column in REPORT_COLUMNS))
    Console().print(table)
    command = "python -m benchmarks.quality " + " ".join(
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(arguments).items()
        if name not in ("data", "output") and value is not None
    )
    print(
        json.dumps(
            {
                "summary": summary,
                "runs": runs,
                "command": command,
                "machine": platform.processor() or platform.machine(),
                "python": sys.version.split()[0],
            },
            ensure_ascii=False,
        )
    )


REPORT_COLUMNS = ("seeds", "hard_prompt", "accuracy", "worst", "spread", "hard_prompt_loss", "loss")


def summarize_runs(name: str, method: str, runs: list[dict[str, Any]], hard: dict[str, float] | None) -> dict[str, Any]:
    """Summarize the runs of one dataset and method."""
    accuracies = [run["accuracy"] for run in runs]
    return {
        "set": name,
        "method": method,
        "seeds": len(runs),
        "hard_prompt": None if hard is None else hard["accuracy"],
        "accuracy": statistics.mean(accuracies),
        "worst": min(accuracies),
        "spread": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "hard_prompt_loss": None if hard is None else hard["loss"],
        "loss": statistics.mean(run["loss"] for run in runs),
    }


def format_figure(value: float | None) -> str:
    return "–" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"


if __name__ == "__main__":
    main()
