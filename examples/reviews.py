"""Write on from a review's first sentence: prefix tuning, measured on reviews that it has not seen.

    python examples/reviews.py

Beside this repository lies other people's text that does not come with it: here, sentences about films. With a network,
change the two names to the tutorial's.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import softprompt
from softprompt.data import Example, read_examples

MODEL = "smollm2-135m"  # the tutorial's: "gpt2"
DATA = "../shared/data/movie_reviews.train.jsonl"  # the tutorial's: "hf:yelp_review_full[:2000]"
RUN = Path("runs/reviews")
SHORTEST, LONGEST = 20, 100  # words: a shorter review is joined to the next of its label, a longer one left out
HELD_OUT = 50  # reviews that are neither learnt from nor used to choose the best step
START = "text:Reviews, in which people say what they liked and what they did not.\n\n"
STEPS = 60


def main() -> None:
    rows = opened(read_examples(DATA))
    train, test = written("train", rows[:-HELD_OUT]), written("test", rows[-HELD_OUT:])

    model = softprompt.load_model(MODEL)
    softprompt.tune(
        model,
        data=train,
        output=RUN / "prompt",
        template="{input}",
        method="prefix",
        init=START,
        steps=STEPS,
        overwrite=True,
    )

    prompt = softprompt.SavedPrompt.read(RUN / "prompt")
    figures = softprompt.evaluate(model, prompt, read_examples(test), sampling=softprompt.Sampling(max_new_tokens=40))
    for name, found in {"without": figures["hard_prompt"], "with": figures}.items():
        print(f"{name} the prefix: perplexity {found['perplexity']:.1f}, {found['looping']:.0%} of the texts loop")
    print(*softprompt.respond(model, prompt, "This restaurant was absolutely amazing!"), sep="")


def opened(examples: Iterable[Example]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    short: dict[str, list[str]] = {}
    for example in examples:
        words = short.pop(example.text("label"), []) + example.text("text").split()
        if len(words) < SHORTEST:
            short[example.text("label")] = words
            continue
        opening, *rest = re.split(r"(?<=[.!?]) ", " ".join(words), maxsplit=1)
        if rest and len(words) <= LONGEST:
            rows.append({"input": opening, "output": rest[0]})
    return rows


def written(name: str, rows: list[dict[str, Any]]) -> Path:
    RUN.mkdir(parents=True, exist_ok=True)
    path = RUN / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


if __name__ == "__main__":
    main()
