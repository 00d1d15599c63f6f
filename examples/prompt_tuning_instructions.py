"""Follow instructions in Chinese: prompt tuning on Alpaca, evaluated on unseen instructions.

    python examples/prompt_tuning_instructions.py

Offline, the script reads 300 records of Alpaca in `../shared/data`, which is not part of this repository. With a
network connection, set `MODEL` and `DATA` to the tutorial's values.
"""

import json
from pathlib import Path
from typing import Any

import softprompt
from softprompt.data import read_examples

MODEL = "smollm2-135m"  # the tutorial's: "Langboat/bloom-1b4-zh"
DATA = "../shared/data/alpaca_zh.json"  # the tutorial's: "hf:shibing624/alpaca-zh[:2000]"
RUN = Path("runs/prompt_tuning_instructions")
MAX_ANSWER_CHARS = 120  # an English model needs more than one token per Chinese character
TEST_SIZE = 16  # records for the final measurement: neither trained on nor used to select the best step


def main() -> None:
    records = [
        dict(example.fields) for example in read_examples(DATA) if len(example.get_text("output")) <= MAX_ANSWER_CHARS
    ]
    train, test = write_jsonl("train", records[:-TEST_SIZE]), write_jsonl("test", records[-TEST_SIZE:])

    model = softprompt.load_model(MODEL)
    softprompt.tune(  # the data format is detected, and determines the template
        model, data=train, output=RUN / "prompt", method="prompt", batch_size=4, max_steps=60, overwrite=True
    )

    prompt = softprompt.SavedPrompt.from_folder(RUN / "prompt")
    sampling = softprompt.SamplingParams(max_new_tokens=64)
    metrics = softprompt.evaluate(model, prompt, read_examples(test), sampling=sampling)
    for name, values in {"without": metrics["hard_prompt"], "with": metrics}.items():
        print(f"{name} the soft prompt: perplexity {values['perplexity']:.2f}")
    print(*softprompt.respond(model, prompt, "考试有哪些技巧？", sampling), sep="")


def write_jsonl(name: str, records: list[dict[str, Any]]) -> Path:
    RUN.mkdir(parents=True, exist_ok=True)
    path = RUN / f"{name}.jsonl"
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


if __name__ == "__main__":
    main()
