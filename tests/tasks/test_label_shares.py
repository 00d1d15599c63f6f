"""Labels of which one has most of the rows: what is the headline, what is chosen by, and what is never answered."""

from __future__ import annotations

import pytest
import torch

from softprompt.tasks import ClassificationTask, Row
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.label_shares import is_uneven, majority_share, most_frequent, scores_of
from tests.tiny import shared_model

LABELS = ("complaint", "other", "praise")


def objective(labels: tuple[str, ...] = LABELS) -> ClassificationObjective:
    return ClassificationTask(labels=labels).bind(shared_model("llama"), 100)


def rows(*labels: int) -> list[Row]:
    return [Row([1], [], label) for label in labels]


def answers(*labels: int, of: int = 3) -> torch.Tensor:
    """Outputs whose most probable labels these are."""
    return (torch.nn.functional.one_hot(torch.tensor(labels), of) * 4.0).log_softmax(dim=1)


def test_the_majority_is_what_a_constant_answer_is_worth() -> None:
    assert majority_share(torch.tensor([2, 2, 0, 2])) == 0.75
    assert most_frequent({"a": 1, "b": 3, "c": 0}) == ("b", 0.75)


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
def test_uneven_is_half_way_from_an_even_share_to_all(share: float, labels: int, uneven: bool) -> None:
    assert is_uneven(share, labels) is uneven


def test_of_uneven_labels_macro_f1_is_the_headline_and_the_majority_stands_beside_accuracy() -> None:
    found = objective(("complaint", "praise")).metrics(answers(*[0] * 20, of=2), rows(*[0] * 19, 1))
    assert list(found) == ["macro_f1", "accuracy", "majority", "loss"]
    assert found["accuracy"] == found["majority"] == 0.95
    assert found["macro_f1"] == pytest.approx((2 * 19 / 39 + 0) / 2)


def test_of_even_labels_accuracy_is_the_headline() -> None:
    assert list(objective().metrics(answers(0, 1, 2, 0), rows(0, 1, 2, 1))) == ["accuracy", "macro_f1", "loss"]


def test_of_uneven_labels_the_best_is_chosen_by_macro_f1() -> None:
    bound, truth = objective(("complaint", "praise")), rows(*[0] * 18, 1, 1)
    constant = bound.metrics(answers(*[0] * 20, of=2), truth)
    telling = bound.metrics(answers(*[1] * 3, *[0] * 15, 1, 1, of=2), truth)
    assert constant["accuracy"] > telling["accuracy"]
    assert bound.quality(telling) > bound.quality(constant)


def test_labels_that_are_never_answered_are_named() -> None:
    assert objective().never_answered(answers(0, 0, 0, 0), rows(0, 0, 2, 0)) == ("praise",)
    assert objective().never_answered(answers(0, 2, 0, 1), rows(0, 1, 2, 0)) == ()


def test_of_uneven_labels_the_scores_of_each_label_weigh_alike() -> None:
    truth = torch.tensor([0] * 9 + [2])
    assert scores_of(torch.tensor([0] * 10), truth, 3).mean() == pytest.approx(0.5)
    assert scores_of(truth, truth, 3).mean() == pytest.approx(1)
    assert scores_of(torch.tensor([0, 1]), torch.tensor([0, 0]), 3).tolist() == [1, 0]
    even = torch.tensor([0, 1, 2])
    assert scores_of(torch.tensor([0, 1, 1]), even, 3).tolist() == [1, 1, 0]
