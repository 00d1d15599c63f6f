"""Teachers of labels that are at chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.distillation.teacher_quality import check_teacher, measure_label_teacher
from softprompt.errors import SettingError
from softprompt.tasks import EncodedExample
from softprompt.tasks.encoded_example import SoftLabelTarget
from tests.distillation.targets import TEXT
from tests.tiny import shared_model

UNKNOWN = -1


def make_examples(pairs: list[tuple[int, int]]) -> list[EncodedExample]:
    """Make inputs from pairs of the teacher's label and the right one."""
    return [
        EncodedExample([1], SoftLabelTarget(torch.eye(2)[predicted].add(0.1).log_softmax(0), label))
        for predicted, label in pairs
    ]


def test_accuracy_counts_inputs_with_a_known_label() -> None:
    quality = measure_label_teacher(make_examples([(0, 0), (1, 1), (1, 0), (1, UNKNOWN)]))
    assert quality is not None
    assert (quality.accuracy, quality.majority, quality.num_inputs) == (2 / 3, 2 / 3, 3)


def test_unknown_labels_are_not_measured() -> None:
    examples = make_examples([(0, UNKNOWN), (1, UNKNOWN)])
    assert measure_label_teacher(examples) is None
    check_teacher(examples, force=False)


@pytest.mark.parametrize(
    ("num_right", "num_inputs", "is_at_chance"), [(50, 100, True), (57, 100, True), (70, 100, False), (3, 4, True)]
)
def test_a_teacher_is_at_chance_unless_it_is_clearly_above_the_most_frequent_label(
    num_right: int, num_inputs: int, is_at_chance: bool
) -> None:
    labels = [i % 2 for i in range(num_inputs)]
    pairs = [(label if i < num_right else 1 - label, label) for i, label in enumerate(labels)]
    quality = measure_label_teacher(make_examples(pairs))
    assert quality is not None
    assert quality.is_at_chance is is_at_chance


def test_a_constant_teacher_of_imbalanced_labels_is_at_chance() -> None:
    quality = measure_label_teacher(make_examples([(0, 0)] * 95 + [(0, 1)] * 5))
    assert quality is not None
    assert quality.is_at_chance


def test_a_teacher_at_chance_is_refused_before_any_training_unless_forced(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    rows = [{"input": f"{word} was", "label": label} for word in ("rice", "fish") for label in ("good", "bad")]
    settings: dict[str, Any] = {
        "context": tmp_path / "text.txt", "data": write_jsonl("rows.jsonl", rows), "output": tmp_path / "p",
        "labels": ("good", "bad"), "template": "{input} so", "num_virtual_tokens": 4, "max_steps": 1,
    }  # fmt: skip
    model = shared_model("llama")
    with pytest.raises(SettingError, match=r"the teacher is at chance: it is right for 50% of 4 inputs"):
        softprompt.distil(model, **settings)
    assert not (tmp_path / "p").exists()
    assert softprompt.distil(model, **settings, overwrite=True, force=True).prompt is not None
