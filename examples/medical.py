"""Choose a way to adapt a model: hard prompt, soft prompts, LoRA, full fine-tuning, each as well as it can be.

    python examples/medical.py

No medical text lies here. The stand-in is the demo's customer messages, written as questions with options: the shape of
medical exams and nothing of their matter. With a network, change the two names to the tutorial's.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import softprompt
from softprompt.data import read_examples

RUN = Path("runs/medical")
STAND_IN = RUN / "stand-in.jsonl"
MODEL = "smollm2-135m"  # whichever you consider
DATA = str(STAND_IN)  # the tutorial's matter: "hf:GBaker/MedQA-USMLE-4-options[:1000]"
TEMPLATE = "{question}\n\n{options}\n\nAnswer:"
WAYS = ("hard", "prompt", "prefix", "lora", "full")
REPORT = RUN / "report"  # report.html is for reading
HELD_OUT = 60  # questions that are neither learnt from nor used to choose the best step


def main() -> None:
    written(STAND_IN, stand_in())
    rows = [{name: example.text(name) for name in ("question", "options", "label")} for example in read_examples(DATA)]
    train, test = written(RUN / "train.jsonl", rows[:-HELD_OUT]), written(RUN / "test.jsonl", rows[-HELD_OUT:])

    report = softprompt.compare(
        model=MODEL, data=train, test=test, template=TEMPLATE, ways=WAYS, steps=24, seeds=1, trials=2, output=REPORT
    )
    for name, way in report["ways"].items():
        print(f"{name}: {way['trained_parameters']:,} numbers train, {way['accuracy']['mean']:.0%} right")
    print(report["recommendation"]["words"])

    softprompt.tune(MODEL, data=train, output=RUN / "prefix", template=TEMPLATE, steps=60, overwrite=True)


def stand_in() -> list[dict[str, Any]]:
    demo = Path(str(files("softprompt") / "demo"))
    parts = [read_examples(demo / f"messages.{part}.jsonl") for part in ("train", "validation", "test")]
    messages = [example for part in parts for example in part]
    options = dict(zip("ABCDEF", sorted({message.text("label") for message in messages}), strict=True))
    asked = "What is this customer's message about?"
    return [
        {"question": f"{asked} {message.text('text')}", "options": options, "answer": message.text("label")}
        for message in messages
    ]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    RUN.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


if __name__ == "__main__":
    main()
