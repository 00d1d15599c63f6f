"""Imbalanced labels: commands report the accuracy of always predicting the most frequent label."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Softprompt, Tune, logged

WriteJsonl = Callable[[str, Sequence[Any]], Path]


def uneven(name: str, count: int = 40) -> list[dict[str, str]]:
    """Make records of which one in twenty has the label `praise`."""
    return [{"text": f"{name} parcel {i} was late", "label": "complaint" if i % 20 else "praise"} for i in range(count)]


@pytest.fixture
def train(write_jsonl: WriteJsonl) -> Path:
    return write_jsonl("train.jsonl", uneven("train"))


@pytest.fixture
def validation(write_jsonl: WriteJsonl) -> Path:
    return write_jsonl("validation.jsonl", uneven("validation"))


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patch for classification that always predicts the first label."""
    import torch

    def answer(objective: Any, hidden: Any, batch: Any) -> Any:
        found = torch.zeros(len(batch.example_weights), len(objective.task.labels)) + 0 * hidden.sum()
        return (found + torch.tensor([2.0, 0.0])).log_softmax(dim=1)

    monkeypatch.setattr("softprompt.tasks.classification_task.ClassificationObjective.compute_log_probs", answer)


@pytest.mark.usefixtures("constant")
def test_tune_reports_the_accuracy_of_always_predicting_the_most_frequent_label(
    tune: Tune, train: Path, validation: Path, output: Path
) -> None:
    ran = tune("--validation", validation, data=train)
    assert ran.code == 0, ran.err
    out = " ".join(ran.out.split())
    assert "macro F1 48.7% (95.0% accuracy; always predicting the most frequent label has 95.0%)" in out
    assert "never predicts 'praise'" in out
    assert "validation macro_f1 0.4872 accuracy 0.95 majority 0.95" in ran.err
    [line] = [line["validation"] for line in logged(output) if line["step"] == 3 and "validation" in line]
    assert list(line) == ["macro_f1", "accuracy", "majority", "loss"]
    found = tune("--validation", validation, "--overwrite", "--json", data=train).json
    assert found["unpredicted_labels"] == ["praise"]
    assert found["best"]["majority"] == 0.95


@pytest.mark.usefixtures("constant")
def test_evaluate_reports_the_accuracy_of_always_predicting_the_most_frequent_label(
    softprompt: Softprompt, tune: Tune, train: Path, validation: Path, output: Path
) -> None:
    assert tune(data=train).code == 0
    out = softprompt("evaluate", output, "--data", validation).out
    assert out.index("macro f1") < out.index("accuracy") < out.index("majority")
    assert "never predicts 'praise'" in out


def test_tune_with_balanced_labels_has_accuracy_as_headline_metric(tune: Tune, reviews: Path) -> None:
    ran = tune("--validation", reviews)
    assert "macro F1" not in ran.out
    assert "% accuracy at step" in ran.out


def test_inspect_reports_imbalanced_labels(softprompt: Softprompt, train: Path, reviews: Path, base: Path) -> None:
    out = softprompt("data", "inspect", train, "--model", base).out
    assert "Always predicting 'complaint' has an accuracy of 95.0%" in " ".join(out.split())
    found = softprompt("data", "inspect", train, "--model", base, "--json").json["splits"]["data"]
    assert found["majority"] == {"label": "complaint", "share": 0.95, "is_uneven": True}
    assert "imbalanced" not in softprompt("data", "inspect", reviews, "--model", base).out


@pytest.mark.usefixtures("warm_workers")
def test_compare_with_imbalanced_labels_has_macro_f1_as_headline_metric(
    softprompt: Softprompt, train: Path, validation: Path, base: Path, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    files = {"data": train, "validation": validation, "test": write_jsonl("test.jsonl", uneven("test"))}
    options = {
        **files,
        "model": base,
        "methods": "hard,head",
        "seeds": 1,
        "trials": 1,
        "max-steps": 2,
        "output": tmp_path / "r",
    }
    ran = softprompt("compare", *[part for name, value in options.items() for part in (f"--{name}", value)])
    assert ran.code == 0, ran.err
    assert "always predicting 'complaint' has an accuracy of 95.0% on the test examples" in " ".join(ran.out.split())
    report = json.loads((tmp_path / "r" / "report.json").read_text("utf-8"))
    assert report["headline_metric"] == "macro_f1"
    assert report["data"]["test"]["majority"] == {"label": "complaint", "share": 0.95, "is_uneven": True}
    page = " ".join((tmp_path / "r" / "report.html").read_text("utf-8").split())
    assert "always answering complaint is right on 95.0% of them" in page
    assert "points of the labels&#39; mean recall" in page
