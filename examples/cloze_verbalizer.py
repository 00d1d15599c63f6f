"""Classify by filling a blank: prompt tuning inside a Chinese cloze, with a verbalizer, on a masked language model.

    python examples/cloze_verbalizer.py

Offline, the script builds a tiny BERT with random weights, which shows that the script runs and says nothing about
BERT's quality. The reviews in `../shared/data` are not part of this repository; they get the tutorial's labels, 1 and
0. With a network connection, set `MODEL` and `DATA` to the tutorial's values.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

import softprompt
from softprompt.data import read_examples

RUN = Path("runs/cloze_verbalizer")
STAND_IN_MODEL, STAND_IN_DATA = RUN / "tiny-bert", RUN / "stand-in.jsonl"
MODEL = str(STAND_IN_MODEL)  # the tutorial's: "bert-base-chinese"
DATA = str(STAND_IN_DATA)  # the tutorial's: "hf:lansinuote/ChnSentiCorp[:2000]"
VERBALIZER = {"1": "好", "0": "差"}
TEMPLATE = "[P1] [P2] {text}。总体评价是[MASK]的"
TEST_SIZE = 200  # reviews for the final measurement: neither trained on nor used to select the best step


def main() -> None:
    if str(STAND_IN_DATA) == DATA:
        write_jsonl(STAND_IN_DATA, read_shop_reviews())
    records = [{name: example.get_text(name) for name in ("text", "label")} for example in read_examples(DATA)]
    train, test = (
        write_jsonl(RUN / "train.jsonl", records[:-TEST_SIZE]),
        write_jsonl(RUN / "test.jsonl", records[-TEST_SIZE:]),
    )
    if str(STAND_IN_MODEL) == MODEL:
        build_stand_in_model(record["text"] for record in records)

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

    prompt = softprompt.SavedPrompt.from_folder(RUN / "prompt")
    metrics = softprompt.evaluate(model, prompt, read_examples(test))
    print(f"soft prompt {metrics['accuracy']:.1%} accuracy, hard prompt {metrics['hard_prompt']['accuracy']:.1%}")
    for prediction in softprompt.classify(model, prompt, ["质量很好，下次还来", "用了两天就坏了"]):
        print(prediction.text, prediction.label, prediction.probabilities)


def read_shop_reviews() -> list[dict[str, Any]]:
    label_ids = {"正面": 1, "负面": 0}
    reviews = read_examples("../shared/data/shop_reviews_zh.jsonl")
    return [{"text": review.get_text("text"), "label": label_ids[review.get_text("label")]} for review in reviews]


def build_stand_in_model(texts: Iterable[str]) -> None:
    characters = sorted({*"".join(texts), *TEMPLATE, *VERBALIZER.values()})
    words = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters])
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    torch.manual_seed(0)
    # a larger initializer_range than usual: otherwise a prompt hardly changes the output
    sizes: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(vocab_size=len(words), intermediate_size=128, initializer_range=0.2, **sizes)
    BertForMaskedLM(config).save_pretrained(STAND_IN_MODEL)
    tokenizer.save_pretrained(STAND_IN_MODEL)


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    RUN.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


if __name__ == "__main__":
    main()
