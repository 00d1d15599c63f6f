"""Does a prompt teach following Chinese instructions? Perplexity of held-out answers, and looping responses.

    python -m benchmarks.instructions --data FOLDER/alpaca_zh.json --model FILE --methods prompt,prefix

The data are Alpaca records (instruction, input, output) whose answer has at most `--longest` characters. The last
`--held-out` of them are used neither for training nor to select the best step. The loss covers only the answers. All
other settings are softprompt's defaults. Each prompt is compared with the base model and the same template. A response
loops if some words occur three times in a row (`has_repeated_ngram`); the first five responses are printed.

Prints a table, then one JSON line. On two cores this takes a quarter of an hour per method with Qwen2.5-Coder-0.5B.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import softprompt
from softprompt.data import read_examples
from softprompt.evaluation.evaluate import generate_responses
from softprompt.model import FrozenModel
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective

NUM_SHOWN = 5


def main() -> None:
    arguments = parse_arguments()
    model = softprompt.load_model(arguments.model)
    train, test = write_splits(arguments)
    runs: list[dict[str, Any]] = []
    for method in arguments.methods.split(","):
        runs.append(tune_and_generate(model, method, train, test, not runs, arguments))
        Console(stderr=True).print({key: value for key, value in runs[-1].items() if key != "texts"})
    print_report(runs, arguments)


def tune_and_generate(
    model: FrozenModel, method: str, train: Path, test: Path, is_first: bool, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Tune one prompt, and generate its responses to the held-out instructions."""
    started, output = time.perf_counter(), arguments.output / method
    softprompt.tune(
        model,
        data=train,
        output=output,
        overwrite=True,
        method=method,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        evaluate_every=arguments.steps // 2,
    )
    trained = time.perf_counter() - started
    saved = softprompt.SavedPrompt.from_folder(output)
    sampling = softprompt.SamplingParams(max_new_tokens=arguments.new_tokens)
    figures = softprompt.evaluate(model, saved, read_examples(test), sampling=sampling, hard_prompt=is_first)
    payload = saved.compile_for(model)
    objective = saved.build_objective(model, payload)
    assert isinstance(objective, LanguageModelingObjective)
    shown = list(read_examples(test))[:NUM_SHOWN]
    texts = generate_responses(objective, payload, shown, sampling)
    return {
        "method": method,
        "training_seconds": trained,
        **figures,
        "texts": [{**example.fields, "response": text} for example, text in zip(shown, texts, strict=True)],
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/instructions"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--methods", default="prompt,prefix")
    parser.add_argument("--longest", type=int, default=200, help="maximum number of characters of an answer")
    parser.add_argument("--held-out", type=int, default=50)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=128)
    return parser.parse_args()


def write_splits(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Write the training records and the held-out records to files."""
    rows = [
        dict(each.fields) for each in read_examples(arguments.data) if len(each.get_text("output")) <= arguments.longest
    ]
    arguments.output.mkdir(parents=True, exist_ok=True)
    found = []
    for part, some in (("train", rows[: -arguments.held_out]), ("test", rows[-arguments.held_out :])):
        found.append(arguments.output / f"{part}.jsonl")
        found[-1].write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some), "utf-8")
    return found[0], found[1]


def print_report(runs: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    table = Table("method", "perplexity", "texts that loop", "seconds of training", title="on held-out instructions")
    base = runs[0]["hard_prompt"]
    table.add_row("none", f"{base['perplexity']:.2f}", f"{base['looping']:.0%}", "–")
    for each in runs:
        seconds = f"{each['training_seconds']:.0f}"
        table.add_row(each["method"], f"{each['perplexity']:.2f}", f"{each['looping']:.0%}", seconds)
    Console().print(table)
    command = "python -m benchmarks.instructions " + " ".join(
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(arguments).items()
        if name not in ("data", "output")
    )
    print(json.dumps({"runs": runs, "command": command}, ensure_ascii=False))


if __name__ == "__main__":
    main()
