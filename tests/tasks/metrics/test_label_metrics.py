"""Label metrics, the headline metric, the selection key, and labels that are never predicted."""

from __future__ import annotations

import pytest
import torch

from softprompt.tasks import ClassificationTask, EncodedExample, LabelTarget
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.metrics.label_metrics import (
    accuracy_score,
    compute_majority_share,
    confusion_matrix,
    find_majority_label,
    is_imbalanced,
    macro_f1_score,
    score_predictions,
)
from tests.tiny import shared_model

LABELS = ("complaint", "other", "praise")


def objective(labels: tuple[str, ...] = LABELS) -> ClassificationObjective:
    return ClassificationTask(labels=labels).build_objective(shared_model("llama"), 100)


def rows(*labels: int) -> list[EncodedExample]:
    return [EncodedExample([1], LabelTarget(label)) for label in labels]


def answers(*labels: int, of: int = 3) -> torch.Tensor:
    """Make outputs in which these labels are the most probable ones."""
    return (torch.nn.functional.one_hot(torch.tensor(labels), of) * 4.0).log_softmax(dim=1)


def test_majority_share_is_the_accuracy_of_a_constant_prediction() -> None:
    assert compute_majority_share(torch.tensor([2, 2, 0, 2])) == 0.75
    assert find_majority_label({"a": 1, "b": 3, "c": 0}) == ("b", 0.75)


@pytest.mark.parametrize(
    ("share", "labels", "uneven"),
    [
        (0.95, 2, True),
        (0.75, 2, True),
        (0.74, 2, False),
        (0.5, 2, False),
        (0.67, 3, True),
        (0.6, 3, False),
        (0.56, 10, True),
        (0.4, 10, False),
    ],
)
def test_imbalance_threshold_is_halfway_between_the_equal_share_and_all_examples(
    share: float, labels: int, uneven: bool
) -> None:
    assert is_imbalanced(share, labels) is uneven


def test_macro_f1_is_the_first_metric_if_labels_are_imbalanced() -> None:
    found = objective(("complaint", "praise")).compute_metrics(answers(*[0] * 20, of=2), rows(*[0] * 19, 1))
    assert list(found) == ["macro_f1", "accuracy", "majority", "loss"]
    assert found["accuracy"] == found["majority"] == 0.95
    assert found["macro_f1"] == pytest.approx((2 * 19 / 39 + 0) / 2)


def test_accuracy_is_the_first_metric_if_labels_are_balanced() -> None:
    assert list(objective().compute_metrics(answers(0, 1, 2, 0), rows(0, 1, 2, 1))) == ["accuracy", "macro_f1", "loss"]


def test_selection_prefers_macro_f1_if_labels_are_imbalanced() -> None:
    bound, truth = objective(("complaint", "praise")), rows(*[0] * 18, 1, 1)
    constant = bound.compute_metrics(answers(*[0] * 20, of=2), truth)
    telling = bound.compute_metrics(answers(*[1] * 3, *[0] * 15, 1, 1, of=2), truth)
    assert constant["accuracy"] > telling["accuracy"]
    assert bound.selection_key(telling) > bound.selection_key(constant)


def test_unpredicted_labels_are_listed() -> None:
    assert objective().find_unpredicted_labels(answers(0, 0, 0, 0), rows(0, 0, 2, 0)) == ("praise",)
    assert objective().find_unpredicted_labels(answers(0, 2, 0, 1), rows(0, 1, 2, 0)) == ()


def test_every_label_has_the_same_total_score_if_labels_are_imbalanced() -> None:
    truth = torch.tensor([0] * 9 + [2])
    assert score_predictions(torch.tensor([0] * 10), truth, 3).mean() == pytest.approx(0.5)
    assert score_predictions(truth, truth, 3).mean() == pytest.approx(1)
    assert score_predictions(torch.tensor([0, 1]), torch.tensor([0, 0]), 3).tolist() == [1, 0]
    even = torch.tensor([0, 1, 2])
    assert score_predictions(torch.tensor([0, 1, 1]), even, 3).tolist() == [1, 1, 0]


def test_accuracy_is_the_share_of_equal_labels() -> None:
    assert accuracy_score(torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 1, 1])) == 0.5
    assert accuracy_score(torch.tensor([1]), torch.tensor([1])) == 1.0


def test_confusion_matrix_has_labels_in_rows_and_predictions_in_columns() -> None:
    found = confusion_matrix(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1]), 3)
    assert found.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_macro_f1_is_the_mean_of_the_labels_f1() -> None:
    # Label 0: precision 2/3, recall 2/2. Label 1: precision 1/1, recall 1/2.
    found = macro_f1_score(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1]), 2)
    assert found == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_macro_f1_ignores_absent_unpredicted_labels() -> None:
    assert macro_f1_score(torch.tensor([0, 1]), torch.tensor([0, 1]), 5) == 1.0


def test_macro_f1_counts_predicted_absent_labels() -> None:
    assert macro_f1_score(torch.tensor([0, 2]), torch.tensor([0, 0]), 3) == pytest.approx((2 / 3 + 0) / 2)


def test_macro_f1_is_zero_if_no_prediction_is_right() -> None:
    assert macro_f1_score(torch.tensor([1, 0]), torch.tensor([0, 1]), 2) == 0.0
