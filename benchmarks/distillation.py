"""How much of a text do a few virtual tokens recover? Few-shot examples, an instruction, and documents.

    python -m benchmarks.distillation --case shots --data FOLDER --seeds 0,1,2
    python -m benchmarks.distillation --case style --model FILE --virtual-tokens 16,32
    python -m benchmarks.distillation --case town_guide --model FILE --virtual-tokens 64,128 --steps 0 --plot FIGURE

`shots`: 16 movie reviews with labels become virtual tokens, learned from 500 reviews without labels; FOLDER has
movie_reviews.train.jsonl, .validation.jsonl and .test.jsonl (text, label). `style`: an instruction, learned from 200
messages of customers; of the answers to 50 others, the share that follows the rules which a program can check. Other
cases are documents in benchmarks/documents: the model studies them itself, and the questions of people with their
answers are the validation inputs. All other settings are softprompt's defaults.

Prints the report of each run as one JSON line, and a table of them. `--plot` draws the recovery over the number of
virtual tokens, beside the alternatives.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import softprompt
from benchmarks.lib.distillation_texts import (
    SUPPORT_STYLE_FILE,
    get_document_file,
    get_questions_file,
    get_support_messages_file,
    load_support_messages,
)
from benchmarks.lib.frontier_plot import plot_recovery_frontier
from benchmarks.lib.machine_info import describe_environment
from softprompt.data import read_examples
from softprompt.distillation import DistillResult
from softprompt.evaluation.text_generation import generate_texts
from softprompt.model import FrozenModel, GenerativeModel
from softprompt.saved import SavedPrompt
from softprompt.saved.objective_check import require_objective
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective

NUM_SHOTS, NUM_UNLABELED, NUM_VALIDATION = 16, 500, 200
MAX_ANSWER_TOKENS = 96


def main() -> None:
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    model = softprompt.load_model(arguments.model)
    runs: list[dict[str, Any]] = []
    for seed, num_virtual_tokens, init in product(
        map(int, arguments.seeds.split(",")), map(int, arguments.virtual_tokens.split(",")), arguments.init.split(",")
    ):
        output = arguments.output / f"{arguments.case}-{num_virtual_tokens}-{init}-{seed}"
        settings = {"num_virtual_tokens": num_virtual_tokens, "seed": seed, "max_steps": arguments.steps, "init": init}
        started = time.perf_counter()
        result = softprompt.distil(
            model, output=output, overwrite=True, **settings, **build_settings(arguments, output, seed)
        )
        seconds = round(time.perf_counter() - started, 1)
        runs.append({"init": init, "seconds": seconds, **summarize(model, arguments, result, seed)})
        print(json.dumps(runs[-1], ensure_ascii=False), flush=True)
    print_table(runs)
    if arguments.plot is not None:
        plot_recovery_frontier(runs, f"{arguments.case}, {arguments.model}", arguments.plot)
    environment = {"machine": describe_environment(), "model": arguments.model, "case": arguments.case}
    print(json.dumps({"benchmark": "distillation", **environment, "steps": arguments.steps, "runs": runs}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="shots", help="shots, style, or the name of a document")
    parser.add_argument("--data", type=Path, help="folder of the movie reviews, for the case `shots`")
    parser.add_argument("--output", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--virtual-tokens", default="32")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--questions", type=int, default=256)
    parser.add_argument("--init", default="attention-matching", help="initial prefixes")
    parser.add_argument("--plot", type=Path, help="file for a figure of the recovery, over the virtual tokens")
    return parser.parse_args()


def build_settings(arguments: argparse.Namespace, output: Path, seed: int) -> dict[str, Any]:
    """Build the settings of a case."""
    match arguments.case:
        case "shots":
            return build_shots_settings(arguments.data, output, seed)
        case "style":
            return {
                "context": SUPPORT_STYLE_FILE,
                "data": get_support_messages_file("train"),
                "validation": get_support_messages_file("test"),
                "max_new_tokens": MAX_ANSWER_TOKENS,
            }
    return {
        "document": get_document_file(arguments.case),
        "validation": get_questions_file(arguments.case),
        "num_questions": arguments.questions,
        "max_new_tokens": 48,
    }


def build_shots_settings(folder: Path, output: Path, seed: int) -> dict[str, Any]:
    """Write the examples of a seed: equally many of each label in turn, and other reviews without their labels."""
    rows = [json.loads(line) for line in (folder / "movie_reviews.train.jsonl").read_text("utf-8").splitlines()]
    by_label = {label: [row for row in rows if row["label"] == label] for label in ("negative", "positive")}
    half = NUM_SHOTS // 2
    pairs = zip(*(texts[seed * half : (seed + 1) * half] for texts in by_label.values()), strict=True)
    shots = [row for pair in pairs for row in pair]
    unlabeled = [{"text": row["text"]} for row in rows if row not in shots][:NUM_UNLABELED]
    validation = (folder / "movie_reviews.validation.jsonl").read_text("utf-8").splitlines()[:NUM_VALIDATION]
    files = {name: output.with_name(f"{output.name}.{name}.jsonl") for name in ("shots", "unlabeled", "validation")}
    for name, lines in (("shots", shots), ("unlabeled", unlabeled)):
        files[name].write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    files["validation"].write_text("\n".join(validation) + "\n", "utf-8")
    return {
        "examples": files["shots"],
        "data": files["unlabeled"],
        "validation": files["validation"],
        "template": "Review: {text}\nSentiment:",
    }


def summarize(model: FrozenModel, arguments: argparse.Namespace, result: DistillResult, seed: int) -> dict[str, Any]:
    """Summarize a run: its report, and what the case measures on its own."""
    assert result.report is not None
    found: dict[str, Any] = {"seed": seed, "best_step": result.best_step}
    if arguments.case == "shots":
        found["test"] = evaluate_test_set(model, arguments.data, result)
    if arguments.case == "style":
        found["style"] = score_style(model, result)
    return {**found, "report": result.report.model_dump(mode="json")}


def evaluate_test_set(model: FrozenModel, folder: Path, result: DistillResult) -> dict[str, float]:
    assert result.prompt is not None
    metrics = softprompt.evaluate(model, result.prompt, read_examples(folder / "movie_reviews.test.jsonl"))
    return {"accuracy": metrics["accuracy"], "hard_prompt_accuracy": metrics["hard_prompt"]["accuracy"]}


def score_style(model: FrozenModel, result: DistillResult) -> dict[str, float]:
    """Return the share of answers that follow the checkable rules: of the distilled prompt and of the whole text."""
    assert result.prompt is not None
    exact = softprompt.distil(
        model, context=SUPPORT_STYLE_FILE, output=result.folder.with_name("exact"),
        num_virtual_tokens="all", overwrite=True,
    ).prompt  # fmt: skip
    assert exact is not None
    prompts = {"distilled": result.prompt, "whole_text": exact}
    return {name: measure_style(model, prompt) for name, prompt in prompts.items()}


def measure_style(model: FrozenModel, prompt: SavedPrompt) -> float:
    """Return the share of a prompt's answers to the test messages that follow the rules."""
    assert isinstance(model, GenerativeModel)
    payload = prompt.compile_for(model)
    objective = require_objective(prompt, model, payload, LanguageModelingObjective, "generate text")
    examples = [
        objective.encode_prompt(objective.build_example(text), MAX_ANSWER_TOKENS)
        for text in load_support_messages("test")
    ]
    sampling = softprompt.SamplingParams(max_new_tokens=MAX_ANSWER_TOKENS)
    answers = generate_texts(model, examples, [payload] * len(examples), sampling)
    return sum(follows_style(answer.strip()) for answer in answers) / len(answers)


def follows_style(text: str) -> bool:
    """Whether an answer follows the rules of support_style.txt that a program can check."""
    lower = text.lower()
    forbidden = ("!", "sorry", "unfortunately", "apolog")
    return (
        text.startswith("Good day from Fernhollow.")
        and text.endswith("Kind regards, Fern")
        and "as a next step," in lower
        and not any(word in lower for word in forbidden)
    )


def print_table(runs: list[dict[str, Any]]) -> None:
    metrics = list(runs[0]["report"]["rows"][-1]["metrics"])
    table = Table("virtual tokens", "init", "seed", "seconds", "", *metrics)
    for run in runs:
        for row in run["report"]["rows"]:
            values = [f"{row['metrics'].get(name, float('nan')):.3f}" for name in metrics]
            settings = [str(run["report"]["num_virtual_tokens"]), run["init"], str(run["seed"]), str(run["seconds"])]
            table.add_row(*settings, row["name"], *values)
    Console(stderr=True).print(table)


if __name__ == "__main__":
    main()
