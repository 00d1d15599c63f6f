"""Train on Alpaca instructions as a conversation, with virtual tokens initialized from a sentence or from noise.

    python examples/p_tuning_conversation.py

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
RUN = Path("runs/p_tuning_conversation")
MAX_ANSWER_CHARS = 120  # an English model needs more than one token per Chinese character
TEST_SIZE = 16  # records for the final measurement: neither trained on nor used to select the best step
INITS = {"text": "text:下面是一段人与机器人的对话。", "noise": "random"}


def main() -> None:
    records = [
        dict(example.fields) for example in read_examples(DATA) if len(example.get_text("output")) <= MAX_ANSWER_CHARS
    ]
    train, test = write_jsonl("train", records[:-TEST_SIZE]), write_jsonl("test", records[-TEST_SIZE:])

    model = softprompt.load_model(MODEL)
    sampling = softprompt.SamplingParams(max_new_tokens=64)
    for name, init in INITS.items():
        softprompt.tune(
            model,
            data=train,
            output=RUN / name,
            template="Human: {prompt}\n\nAssistant:",
            method="p-tuning",
            init=init,
            batch_size=4,
            max_steps=60,
            overwrite=True,
        )
        prompt = softprompt.SavedPrompt.from_folder(RUN / name)
        metrics = softprompt.evaluate(model, prompt, read_examples(test), sampling=sampling)
        baseline = metrics["hard_prompt"]["perplexity"]
        print(f"from {name}: perplexity {metrics['perplexity']:.2f}, without the soft prompt {baseline:.2f}")
        print(*softprompt.respond(model, prompt, "考试有哪些技巧？", sampling), sep="")


def write_jsonl(name: str, records: list[dict[str, Any]]) -> Path:
    RUN.mkdir(parents=True, exist_ok=True)
    path = RUN / f"{name}.jsonl"
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


if __name__ == "__main__":
    main()
