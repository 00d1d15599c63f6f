"""The same instructions as a conversation between a human and a machine, from virtual tokens that say so.

    python examples/conversation.py

Beside this repository lies other people's text that does not come with it: here, 300 rows of Alpaca. With a network,
change the two names to the tutorial's.
"""

import json
from pathlib import Path
from typing import Any

import softprompt
from softprompt.data import read_examples

MODEL = "smollm2-135m"  # the tutorial's: "Langboat/bloom-1b4-zh"
DATA = "../shared/data/alpaca_zh.json"  # the tutorial's: "hf:shibing624/alpaca-zh[:2000]"
RUN = Path("runs/conversation")
LONGEST = 120  # characters of an answer: an English model spends more than a token on each
HELD_OUT = 16  # rows that are neither learnt from nor used to choose the best step
STARTS = {"text": "text:下面是一段人与机器人的对话。", "noise": "random"}


def main() -> None:
    rows = [dict(example.fields) for example in read_examples(DATA) if len(example.text("output")) <= LONGEST]
    train, test = written("train", rows[:-HELD_OUT]), written("test", rows[-HELD_OUT:])

    model = softprompt.load_model(MODEL)
    sampling = softprompt.Sampling(max_new_tokens=64)
    for name, init in STARTS.items():
        softprompt.tune(
            model,
            data=train,
            output=RUN / name,
            template="Human: {prompt}\n\nAssistant:",
            method="p-tuning",
            init=init,
            batch_size=4,
            steps=60,
            overwrite=True,
        )
        prompt = softprompt.SavedPrompt.read(RUN / name)
        figures = softprompt.evaluate(model, prompt, read_examples(test), sampling=sampling)
        bare = figures["hard_prompt"]["perplexity"]
        print(f"from {name}: perplexity {figures['perplexity']:.2f}, without the soft prompt {bare:.2f}")
        print(*softprompt.respond(model, prompt, "考试有哪些技巧？", sampling), sep="")


def written(name: str, rows: list[dict[str, Any]]) -> Path:
    RUN.mkdir(parents=True, exist_ok=True)
    path = RUN / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


if __name__ == "__main__":
    main()
