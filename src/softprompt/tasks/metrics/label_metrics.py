"""Metrics of predicted labels, and what imbalanced labels change: accuracy says little then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor

#: Name of the metric with the share of the most frequent label; present only with imbalanced labels.
MAJORITY_METRIC = "majority"


def accuracy_score(predicted: Int[Tensor, "N"], labels: Int[Tensor, "N"]) -> float:
    """Return the share of right predictions."""
    return float((predicted == labels).double().mean())


def confusion_matrix(predicted: Int[Tensor, "N"], labels: Int[Tensor, "N"], num_labels: int) -> Int[Tensor, "K K"]:
    """Return how often each label (row) was predicted as each label (column)."""
    return (labels * num_labels + predicted).bincount(minlength=num_labels**2).view(num_labels, num_labels)


def macro_f1_score(predicted: Int[Tensor, "N"], labels: Int[Tensor, "N"], num_labels: int) -> float:
    """Return the mean F1 over the labels; labels that neither occur nor are predicted do not count."""
    confusion = confusion_matrix(predicted, labels, num_labels).double()
    num_correct, num_actual, num_predicted = confusion.diagonal(), confusion.sum(dim=1), confusion.sum(dim=0)
    f1 = 2 * num_correct / (num_actual + num_predicted).clamp(min=1)
    return float(f1[(num_actual + num_predicted) > 0].mean())


def compute_majority_share(labels: Int[Tensor, "N"]) -> float:
    """Return the share of the most frequent label: the accuracy of always predicting that label."""
    return float(labels.bincount().max()) / len(labels)


def is_imbalanced(share: float, num_labels: int) -> bool:
    """Return whether the majority share is at least halfway between an even share and all examples.

    The thresholds are 75% with two labels, 67% with three, and 55% with ten.
    """
    return share >= (1 + 1 / num_labels) / 2


def put_headline_first(metrics: Mapping[str, float], labels: Int[Tensor, "N"], num_labels: int) -> dict[str, float]:
    """Order classification metrics, the headline first: accuracy, or macro F1 with imbalanced labels."""
    share = compute_majority_share(labels)
    if not is_imbalanced(share, num_labels):
        return dict(metrics)
    return {"macro_f1": metrics["macro_f1"], "accuracy": metrics["accuracy"], MAJORITY_METRIC: share, **metrics}


def score_predictions(predicted: Int[Tensor, "N"], labels: Int[Tensor, "N"], num_labels: int) -> Float[Tensor, "N"]:
    """Return 1 for each right prediction and 0 for others. Imbalanced labels are weighted to equal totals.

    The mean of the weighted scores is then the mean recall of the labels.
    """
    is_correct = (predicted == labels).double()
    if not is_imbalanced(compute_majority_share(labels), num_labels):
        return is_correct
    counts = labels.bincount(minlength=num_labels)
    return is_correct * len(labels) / (counts[labels] * (counts > 0).sum())


def list_unpredicted_labels(
    predicted: Int[Tensor, "N"], labels: Int[Tensor, "N"], label_names: Sequence[str]
) -> tuple[str, ...]:
    """Return the names of labels that occur in the examples but are never predicted."""
    missing = set(labels.tolist()) - set(predicted.tolist())
    return tuple(name for i, name in enumerate(label_names) if i in missing)


def find_majority_label(counts: Mapping[str, int]) -> tuple[str, float]:
    """Return the label with the most examples (the first of equals) and its share of the examples."""
    label = max(counts, key=counts.__getitem__)
    return label, counts[label] / max(1, sum(counts.values()))
