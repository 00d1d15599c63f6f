"""Runs the examples as their readers do, from the root of a project, on a tiny model and small data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tests.docs.test_doc_pages import substituted
from tests.tiny import tiny_tokenizer

ROOT = Path(__file__).parents[2]

SUBJECTS = ("the film", "the plot", "its ending", "each scene", "the cast", "a song")
WORDS = {"great fun": "positive", "a bore": "negative", "lovely": "positive", "awful": "negative"}
SHOPS = {"很好": "正面", "不错": "正面", "太差": "负面", "坏了": "负面"}
INSTRUCTIONS = {"说一个季节。": "春天。", "写一个数字。": "三。", "翻译这个词。": "鱼。"}


def reviews() -> list[dict[str, Any]]:
    """Make 216 reviews of two sentences, and one of a single word."""
    records = [
        {"text": f"{subject} {verb} {word}. I have seen it {number} times with all of my friends!", "label": label}
        for number in range(3)
        for subject in SUBJECTS
        for verb in ("was", "is", "seemed")
        for word, label in WORDS.items()
    ]
    return [{"text": "lovely", "label": "positive"}, *records]


def instructions() -> list[dict[str, Any]]:
    """Make 60 instructions, some with an input, and one more with an answer that is too long."""
    records = [
        {"instruction": f"{number}。{instruction}", "input": "鱼" if number % 2 else "", "output": answer}
        for number in range(20)
        for instruction, answer in INSTRUCTIONS.items()
    ]
    return [{**records[0], "output": "很" * 300}, *records]


def shop_reviews() -> list[dict[str, Any]]:
    """Make 280 reviews in Chinese."""
    return [
        {"text": f"第{number}次买，质量{word}", "label": label} for number in range(70) for word, label in SHOPS.items()
    ]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the model that replaces the bundled one: like that one, it has no BOS."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = tiny_tokenizer()
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    config = LlamaConfig(
        **sizes,
        vocab_size=len(tokenizer),
        intermediate_size=40,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def project(tiny: Path, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Patch whose working folder is a project's root with examples and data; tiny model, runs of 2 steps."""
    root, data = tmp_path / "project", tmp_path / "shared" / "data"
    root.mkdir()
    data.mkdir(parents=True)
    (root / "examples").symlink_to(ROOT / "examples")
    for name, rows in {"movie_reviews.train": reviews(), "shop_reviews_zh": shop_reviews()}.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (data / f"{name}.jsonl").write_text(text, "utf-8")
    (data / "alpaca_zh.json").write_text(json.dumps(instructions(), ensure_ascii=False), "utf-8")
    with substituted(tiny) as patch:
        patch.chdir(root)
        yield patch
