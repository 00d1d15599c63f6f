"""`softprompt evaluate`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.model import load_model
from tests.cli.conftest import Softprompt
from tests.conftest import REVIEWS

WriteJsonl = Callable[[str, Sequence[Any]], Path]


def test_evaluate_reports_classification_metrics(softprompt: Softprompt, classifier: Path, reviews: Path) -> None:
    found = softprompt("evaluate", classifier, "--data", reviews, "--json").json
    figures = {"accuracy", "macro_f1", "loss", "majority", "never_answered", "cut"}
    assert set(found) == {*figures, "examples", "hard_prompt"}
    assert set(found["hard_prompt"]) == figures
    assert found["majority"] == 0.5
    assert found["examples"] == 24


def test_evaluate_accuracy_equals_the_share_of_correct_classify_results(
    softprompt: Softprompt, classifier: Path, reviews: Path
) -> None:
    texts = [review["text"] for review in REVIEWS]
    results = softprompt("classify", classifier, *texts, "--json").json["results"]
    right = sum(result["label"] == review["label"] for result, review in zip(results, REVIEWS, strict=True))
    assert softprompt("evaluate", classifier, "--data", reviews, "--json").json["accuracy"] == right / 24


def test_the_hard_prompt_has_its_own_loss_and_is_omitted_on_request(
    softprompt: Softprompt, classifier: Path, reviews: Path
) -> None:
    found = softprompt("evaluate", classifier, "--data", reviews, "--json").json
    assert found["hard_prompt"]["loss"] != found["loss"]
    bare = softprompt("evaluate", classifier, "--data", reviews, "--no-hard-prompt", "--json").json
    assert bare == {name: value for name, value in found.items() if name != "hard_prompt"}


def test_evaluate_reports_generation_metrics(softprompt: Softprompt, writer: Path, pairs: Path) -> None:
    found = softprompt("evaluate", writer, "--data", pairs, "--max-new-tokens", "6", "--json").json
    figures = {"perplexity", "loss", "cut", "bleu", "looping"}
    assert set(found) == {*figures, "examples", "hard_prompt"}
    assert set(found["hard_prompt"]) == figures
    assert found["examples"] == 12
    assert 0 <= found["bleu"] <= 100
    assert 0 <= found["looping"] <= 1
    assert found["perplexity"] > 1


def test_a_response_that_equals_one_of_the_references_has_a_bleu_of_100(
    softprompt: Softprompt, writer: Path, write_jsonl: WriteJsonl
) -> None:
    said = softprompt("generate", writer, "--prompt", "food: tea", "--max-new-tokens", "60", "--json").json["response"]
    data = write_jsonl("a.jsonl", [{"input": "food: tea", "references": ["nothing like it", said]}])
    found = softprompt("evaluate", writer, "--data", data, "--max-new-tokens", "60", "--json").json
    assert found["bleu"] == pytest.approx(100)


def test_evaluate_prints_a_table_with_the_hard_prompt(softprompt: Softprompt, classifier: Path, reviews: Path) -> None:
    ran = softprompt("evaluate", classifier, "--data", reviews)
    assert ran.code == 0
    for word in ("24 examples", "soft prompt", "hard prompt", "accuracy", "macro f1", "loss"):
        assert word in ran.out
    assert "hard prompt" not in softprompt("evaluate", classifier, "--data", reviews, "--no-hard-prompt").out


def test_evaluate_counts_truncated_texts(softprompt: Softprompt, classifier: Path, write_jsonl: WriteJsonl) -> None:
    rows = [{"text": "scene " * length, "label": "good"} for length in (3, 200, 4, 300)]
    found = softprompt("evaluate", classifier, "--data", write_jsonl("a.jsonl", rows), "--json").json
    assert found["cut"] == 2
    assert found["hard_prompt"]["cut"] == 2


def test_evaluate_accepts_data_without_examples_of_a_label(
    softprompt: Softprompt, classifier: Path, write_jsonl: WriteJsonl
) -> None:
    data = write_jsonl("a.jsonl", [{"text": "lovely", "label": "good"}])
    assert softprompt("evaluate", classifier, "--data", data, "--json").json["examples"] == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a film", "label": "fine"}, ["a.jsonl:2", "'fine'", "bad, good"]),
        ({"text": "a film"}, ["a.jsonl:2", "no field 'label'"]),
        ({"review": "a film", "label": "good"}, ["a.jsonl:2", "no field 'text'", "review"]),
        (["a film", "good"], ["a.jsonl:2", "object"]),
    ],
)
def test_evaluate_errors_name_the_line_of_an_invalid_record(
    softprompt: Softprompt, classifier: Path, write_jsonl: WriteJsonl, row: Any, words: list[str]
) -> None:
    data = write_jsonl("a.jsonl", [{"text": "lovely", "label": "good"}, row])
    softprompt("evaluate", classifier, "--data", data).refused(*words)


def test_evaluate_rejects_unreadable_data_files(softprompt: Softprompt, classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.jsonl").write_text('{"text": "a film", "label": "good"}\n{"text": \n')
    softprompt("evaluate", classifier, "--data", tmp_path / "gone.jsonl").refused("file not found", "gone.jsonl")
    softprompt("evaluate", classifier, "--data", tmp_path / "empty.jsonl").refused("empty.jsonl has no examples")
    softprompt("evaluate", classifier, "--data", tmp_path / "broken.jsonl").refused("broken.jsonl:2", "not JSON")
    softprompt("evaluate", classifier, "--data", tmp_path / "data.txt").refused(".jsonl, .json, .csv, .tsv, .parquet")


@pytest.mark.parametrize(
    ("count", "complaint"),
    [
        ("0", "--max-new-tokens 0: choose at least 1"),
        ("-1", "choose at least 1"),
        ("125", "choose 1 to 124"),
        ("9999", "choose 1 to 124"),
    ],
)
def test_evaluate_rejects_invalid_max_new_tokens(
    softprompt: Softprompt, writer: Path, pairs: Path, count: str, complaint: str
) -> None:
    ran = softprompt("evaluate", writer, "--data", pairs, "--max-new-tokens", count)
    ran.refused(complaint)


def test_evaluate_rejects_another_base_model(
    softprompt: Softprompt, classifier: Path, reviews: Path, base: Path, other_base: Path
) -> None:
    ran = softprompt("evaluate", classifier, "--data", reviews, "--model", other_base)
    ran.refused(*(load_model(str(folder)).fingerprint for folder in (base, other_base)))


def test_evaluate_rejects_a_prompt_with_truncated_tensors(
    softprompt: Softprompt, classifier: Path, reviews: Path, tmp_path: Path
) -> None:
    damaged = shutil.copytree(classifier, tmp_path / "p")
    file = damaged / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    softprompt("evaluate", damaged, "--data", reviews).refused("adapter_model.safetensors", "truncated or changed")
