"""How good are generated responses? BLEU on table-to-text, compared with the hard prompt and a few-shot prompt.

    python -m benchmarks.generation --data FOLDER

FOLDER has e2e.train.jsonl (input, output), e2e.validation.jsonl and e2e.test.jsonl (input, references). Responses are
greedy; BLEU is sacrebleu's, against all references. A response loops if some words occur three times in a row. Prints a
table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import softprompt
from softprompt.data import Example, read_examples
from softprompt.evaluation import SamplingParams
from softprompt.evaluation.evaluate import generate_responses
from softprompt.model import FrozenModel, Payload
from softprompt.tasks import GenerationTask
from softprompt.tasks.metrics.text_metrics import corpus_bleu_score, has_repeated_ngram

TEMPLATE = "Data: {input}\nText:"
SAMPLING_PARAMS = SamplingParams(max_new_tokens=64)


def main() -> None:
    arguments = parse_arguments()
    model = softprompt.load_model(arguments.model)
    test = read_examples(arguments.data / "e2e.test.jsonl")
    arguments.output.mkdir(parents=True, exist_ok=True)
    train = write_first_lines(arguments.data / "e2e.train.jsonl", arguments.examples, arguments.output)
    started = time.perf_counter()
    tuned = softprompt.tune(
        model,
        data=train,
        validation=arguments.data / "e2e.validation.jsonl",
        output=arguments.output / "prefix",
        overwrite=True,
        template=TEMPLATE,
        method="prefix",
        steps=arguments.steps,
        evaluate_every=arguments.steps // 2,
    )
    seconds = time.perf_counter() - started
    saved = softprompt.SavedPrompt.from_folder(arguments.output / "prefix")
    shots = "".join(
        TEMPLATE.format(input=example.get_text("input")) + f" {example.get_text('output')}\n\n"
        for example in read_examples(train)[:: arguments.examples // 3][:3]
    )
    templates = {
        "hard prompt": (TEMPLATE, None),
        "three examples": (shots.replace("{", "{{").replace("}", "}}") + TEMPLATE, None),
        "prefix": (TEMPLATE, saved.compile_for(model)),
    }
    found = {name: measure_template(model, template, payload, test) for name, (template, payload) in templates.items()}
    table = Table("prompt", "BLEU", "looping of 50", "looping of all", title=f"{len(test)} inputs, greedy")
    for name, each in found.items():
        table.add_row(name, f"{each['bleu']:.1f}", str(each["looping_of_50"]), str(each["looping"]))
    Console().print(table)
    command = f"python -m benchmarks.generation --examples {arguments.examples} --steps {arguments.steps}"
    print(json.dumps({**found, "training_seconds": seconds, "best": tuned.best, "command": command}))


def write_first_lines(path: Path, count: int, folder: Path) -> Path:
    """Write the first examples of a file to another file."""
    part = folder / f"train-{count}.jsonl"
    part.write_text("\n".join(path.read_text("utf-8").splitlines()[:count]) + "\n", "utf-8")
    return part


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/generation"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=100)
    return parser.parse_args()


def measure_template(
    model: FrozenModel, template: str, payload: Payload | None, test: Sequence[Example]
) -> dict[str, Any]:
    task = GenerationTask(template=template)
    objective = task.build_objective(model, model.shape.window - 64)
    # A few-shot prompt continues with the next "Data:" where a tuned one ends, so only the first line counts.
    texts = [text.partition("\n")[0].strip() for text in generate_responses(objective, payload, test, SAMPLING_PARAMS)]
    return {
        "bleu": corpus_bleu_score(texts, [task.get_references(example) for example in test]),
        "looping": sum(map(has_repeated_ngram, texts)),
        "looping_of_50": sum(map(has_repeated_ngram, texts[:50])),
        "samples": texts[:5],
    }


if __name__ == "__main__":
    main()
