"""Choose a method to adapt a model: compare a hard prompt, soft prompts, LoRA and full fine-tuning under one budget.

    python examples/compare_methods_medical.py

Offline, the script writes the demo's customer messages as multiple-choice questions: the format of a medical exam, but
not its content. With a network connection, set `MODEL` and `DATA` to the tutorial's values.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import softprompt
from softprompt.data import read_examples

RUN = Path("runs/compare_methods_medical")
STAND_IN_DATA = RUN / "stand-in.jsonl"
MODEL = "smollm2-135m"  # the model to adapt
DATA = str(STAND_IN_DATA)  # the tutorial's: "hf:GBaker/MedQA-USMLE-4-options[:1000]"
TEMPLATE = "{question}\n\n{options}\n\nAnswer:"
METHODS = ("hard", "prompt", "prefix", "lora", "full")
REPORT = RUN / "report"  # open report.html in a browser
TEST_SIZE = 60  # questions for the final measurement: neither trained on nor used to select the best step


def main() -> None:
    write_jsonl(STAND_IN_DATA, build_stand_in_records())
    records = [
        {name: example.get_text(name) for name in ("question", "options", "label")} for example in read_examples(DATA)
    ]
    train, test = (
        write_jsonl(RUN / "train.jsonl", records[:-TEST_SIZE]),
        write_jsonl(RUN / "test.jsonl", records[-TEST_SIZE:]),
    )

    report = softprompt.compare(
        model=MODEL,
        data=train,
        test=test,
        template=TEMPLATE,
        methods=METHODS,
        max_steps=24,
        seeds=1,
        trials=2,
        output=REPORT,
    )
    for name, result in report.results.items():
        accuracy = result.metrics["accuracy"].mean
        print(f"{name}: {result.num_trained_parameters:,} trained parameters, accuracy {accuracy:.0%}")
    print(report.recommendation.summary)

    softprompt.tune(MODEL, data=train, output=RUN / "prefix", template=TEMPLATE, max_steps=60, overwrite=True)


def build_stand_in_records() -> list[dict[str, Any]]:
    demo = Path(str(files("softprompt") / "demo"))
    splits = [read_examples(demo / f"messages.{split}.jsonl") for split in ("train", "validation", "test")]
    messages = [example for split in splits for example in split]
    options = dict(zip("ABCDEF", sorted({message.get_text("label") for message in messages}), strict=True))
    question = "What is this customer's message about?"
    return [
        {"question": f"{question} {message.get_text('text')}", "options": options, "answer": message.get_text("label")}
        for message in messages
    ]


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    RUN.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


if __name__ == "__main__":
    main()
