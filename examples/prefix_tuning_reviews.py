"""Continue a review from its first sentence: prefix tuning, evaluated on unseen reviews.

    python examples/prefix_tuning_reviews.py

Offline, the script reads sentences about films in `../shared/data`, which is not part of this repository. With a
network connection, set `MODEL` and `DATA` to the tutorial's values.
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
RUN = Path("runs/prefix_tuning_reviews")
MIN_WORDS, MAX_WORDS = 20, 100  # a shorter review is joined to the next with its label, a longer one is skipped
TEST_SIZE = 50  # reviews for the final measurement: neither trained on nor used to select the best step
INIT = "text:Reviews, in which people say what they liked and what they did not.\n\n"
STEPS = 60


def main() -> None:
    records = split_first_sentences(read_examples(DATA))
    train, test = write_jsonl("train", records[:-TEST_SIZE]), write_jsonl("test", records[-TEST_SIZE:])

    model = softprompt.load_model(MODEL)
    softprompt.tune(
        model,
        data=train,
        output=RUN / "prompt",
        template="{input}",
        method="prefix",
        init=INIT,
        max_steps=STEPS,
        overwrite=True,
    )

    prompt = softprompt.SavedPrompt.from_folder(RUN / "prompt")
    metrics = softprompt.evaluate(
        model, prompt, read_examples(test), sampling=softprompt.SamplingParams(max_new_tokens=40)
    )
    for name, values in {"without": metrics["hard_prompt"], "with": metrics}.items():
        print(f"{name} the prefix: perplexity {values['perplexity']:.1f}, {values['looping']:.0%} of the texts loop")
    print(*softprompt.respond(model, prompt, "This restaurant was absolutely amazing!"), sep="")


def split_first_sentences(examples: Iterable[Example]) -> list[dict[str, str]]:
    records: list[dict[str, str]] = []
    short_reviews: dict[str, list[str]] = {}  # words of a review that is still too short, by label
    for example in examples:
        words = short_reviews.pop(example.get_text("label"), []) + example.get_text("text").split()
        if len(words) < MIN_WORDS:
            short_reviews[example.get_text("label")] = words
            continue
        first_sentence, *rest = re.split(r"(?<=[.!?]) ", " ".join(words), maxsplit=1)
        if rest and len(words) <= MAX_WORDS:
            records.append({"input": first_sentence, "output": rest[0]})
    return records


def write_jsonl(name: str, records: list[dict[str, Any]]) -> Path:
    RUN.mkdir(parents=True, exist_ok=True)
    path = RUN / f"{name}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


if __name__ == "__main__":
    main()
