"""Fill a blank: prompt tuning inside a Chinese cloze, read by a verbalizer, on a masked model.

    python examples/cloze.py

No trained masked model can be had without a network. The stand-in is a tiny BERT with random weights: it shows that the
job runs, and nothing of what BERT knows. The stand-in for the tutorial's reviews are other people's, which lie beside
this repository, with its labels, 1 and 0. With a network, change the two names to the tutorial's.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

import softprompt
from softprompt.data import read_examples

RUN = Path("runs/cloze")
STAND_IN, REVIEWS = RUN / "tiny-bert", RUN / "stand-in.jsonl"
MODEL = str(STAND_IN)  # the tutorial's: "bert-base-chinese"
DATA = str(REVIEWS)  # the tutorial's: "hf:lansinuote/ChnSentiCorp[:2000]"
VERBALIZER = {"1": "好", "0": "差"}
TEMPLATE = "[P1] [P2] {text}。总体评价是[MASK]的"
HELD_OUT = 200  # reviews that are neither learnt from nor used to choose the best step


def main() -> None:
    if str(REVIEWS) == DATA:
        written(REVIEWS, shop_reviews())
    rows = [{name: example.text(name) for name in ("text", "label")} for example in read_examples(DATA)]
    train, test = written(RUN / "train.jsonl", rows[:-HELD_OUT]), written(RUN / "test.jsonl", rows[-HELD_OUT:])
    if str(STAND_IN) == MODEL:
        build_stand_in(row["text"] for row in rows)

    model = softprompt.load_model(MODEL)
    softprompt.tune(
        model,
        data=train,
        output=RUN / "prompt",
        template=TEMPLATE,
        verbalizer=VERBALIZER,
        method="prompt",
        init="text:评价",
        overwrite=True,
    )

    prompt = softprompt.SavedPrompt.read(RUN / "prompt")
    figures = softprompt.evaluate(model, prompt, read_examples(test))
    print(f"soft prompt {figures['accuracy']:.1%} right, hard prompt {figures['hard_prompt']['accuracy']:.1%}")
    for found in softprompt.classify(model, prompt, ["质量很好，下次还来", "用了两天就坏了"]):
        print(found.text, found.label, found.probabilities)


def shop_reviews() -> list[dict[str, Any]]:
    numbers = {"正面": 1, "负面": 0}
    reviews = read_examples("../shared/data/shop_reviews_zh.jsonl")
    return [{"text": review.text("text"), "label": numbers[review.text("label")]} for review in reviews]


def build_stand_in(texts: Iterable[str]) -> None:
    characters = sorted({*"".join(texts), *TEMPLATE, *VERBALIZER.values()})
    words = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters])
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    torch.manual_seed(0)
    # weights wider than usual, or it would hardly notice a prompt
    sizes: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(vocab_size=len(words), intermediate_size=128, initializer_range=0.2, **sizes)
    BertForMaskedLM(config).save_pretrained(STAND_IN)
    tokenizer.save_pretrained(STAND_IN)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    RUN.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


if __name__ == "__main__":
    main()
