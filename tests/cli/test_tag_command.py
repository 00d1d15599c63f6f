"""`softprompt tag`, and token classification in the other commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import softprompt as package
from softprompt.model import load_model
from softprompt.saved import SavedPrompt
from tests.cli.conftest import Softprompt, saved_model, tuned

WriteJsonl = Callable[[str, Sequence[Any]], Path]
ROWS = [
    {"tokens": ["the", "film", "serves", food], "tags": ["O", "O", "O", tag]}
    for food, tag in (("rice", "B-FOOD"), ("tea", "B-FOOD"), ("plot", "O"))
] * 2
TEXT = "the film  serves tea"


@pytest.fixture(scope="session")
def masked_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a masked model."""
    return saved_model(tmp_path_factory.mktemp("masked"), seed=0, family="bert")


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory, masked_base: Path) -> Path:
    """Prefix that tags food."""
    return tuned(tmp_path_factory.mktemp("tagger"), masked_base, ROWS)


def test_tag_json_has_words_tags_and_probabilities(softprompt: Softprompt, tagger: Path, masked_base: Path) -> None:
    found = softprompt("tag", tagger, TEXT, "--json").json
    assert set(found) == {"words", "tags", "probabilities"}
    assert found["words"] == TEXT.split()
    for tag, probabilities in zip(found["tags"], found["probabilities"], strict=True):
        assert set(probabilities) == {"B-FOOD", "O"}
        assert tag == max(probabilities, key=probabilities.get)
    assert found == vars(package.tag(load_model(str(masked_base)), SavedPrompt.from_folder(tagger), TEXT))


def test_tag_prints_a_line_per_word(softprompt: Softprompt, tagger: Path) -> None:
    lines = softprompt("tag", tagger, TEXT).out.splitlines()
    assert [line.split()[-1] for line in lines] == TEXT.split()
    assert all("%" in line for line in lines)


def test_tag_marks_truncated_words(softprompt: Softprompt, tagger: Path) -> None:
    ran = softprompt("tag", tagger, "tea " * 80)
    assert ran.code == 0
    assert ran.out.splitlines()[-1].split() == ["–", "–", "tea"]
    assert "truncated" in ran.err


def test_a_tagging_prompt_is_tuned_and_evaluated(
    softprompt: Softprompt, masked_base: Path, write_jsonl: WriteJsonl, output: Path
) -> None:
    data = write_jsonl("a.jsonl", [{"tokens": row["tokens"], "ner_tags": row["tags"]} for row in ROWS])
    settings = ("--model", masked_base, "--max-steps", 2, "--num-virtual-tokens", 2, "--method", "p-tuning-v2")
    ran = softprompt("tune", *settings, "--data", data, "--validation", data, "--output", output)
    assert ran.code == 0, ran.err
    assert "softprompt tag" in ran.out
    figures = softprompt("evaluate", output, "--data", data, "--json").json
    assert set(figures) == {"f1", "accuracy", "loss", "cut", "examples", "hard_prompt"}
    assert figures["hard_prompt"] is None
    assert "accuracy" in softprompt("evaluate", output, "--data", data).out
    assert softprompt("show", output, "--no-neighbors").code == 0
    softprompt("export", output, output.with_name("peft"), "--format", "peft").refused("linear head")
    softprompt("classify", output, "tea").refused("softprompt tag")


def test_data_inspect_marks_tags(softprompt: Softprompt, masked_base: Path, write_jsonl: WriteJsonl) -> None:
    data = write_jsonl("a.jsonl", ROWS)
    found = softprompt("data", "inspect", data, "--model", masked_base, "--json").json
    assert found["format"] == "token-classification"
    assert found["splits"]["data"]["label_counts"] == {"B-FOOD": 4, "O": 20}
    assert found["splits"]["data"]["num_duplicates"] == 3
    pieces = found["samples"][0]["segments"]
    assert [piece["text"] for piece in pieces if piece["supervised"]] == ["O", "O", "O", "B-FOOD"]
    assert "⟦B-FOOD⟧" in softprompt("data", "inspect", data, "--model", masked_base).out
