"""How rows are shared out among labels, and what that does to a figure: of uneven labels, accuracy tells little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor

#: Among figures of merit: the share of the most frequent label. It stands there where the labels are uneven.
MAJORITY = "majority"


def majority_share(labels: Int[Tensor, "N"]) -> float:
    """The share of the most frequent label: how often it is right always to answer that one."""
    return float(labels.bincount().max()) / len(labels)


def is_uneven(share: float, num_labels: int) -> bool:
    """Whether a label with this share of the rows has at least half of what an even share lacks to all of them.

    So a label counts as too frequent from 75% of two labels on, 67% of three, 55% of ten.
    """
    return share >= (1 + 1 / num_labels) / 2


def with_headline(figures: Mapping[str, float], labels: Int[Tensor, "N"], num_labels: int) -> dict[str, float]:
    """Figures of a classification, the headline first: accuracy, or macro F1 where the labels are uneven."""
    share = majority_share(labels)
    if not is_uneven(share, num_labels):
        return dict(figures)
    return {"macro_f1": figures["macro_f1"], "accuracy": figures["accuracy"], MAJORITY: share, **figures}


def scores_of(predicted: Int[Tensor, "N"], labels: Int[Tensor, "N"], num_labels: int) -> Float[Tensor, "N"]:
    """Of each row whether it is right: 1 or 0. Where the labels are uneven, the rows of each weigh alike together.

    Then their mean is the mean of the labels' recalls.
    """
    right = (predicted == labels).double()
    if not is_uneven(majority_share(labels), num_labels):
        return right
    counts = labels.bincount(minlength=num_labels)
    return right * len(labels) / (counts[labels] * (counts > 0).sum())


def never_answered(predicted: Int[Tensor, "N"], labels: Int[Tensor, "N"], names: Sequence[str]) -> tuple[str, ...]:
    """The labels, by their names, that rows have and that are never predicted."""
    missing = set(labels.tolist()) - set(predicted.tolist())
    return tuple(name for i, name in enumerate(names) if i in missing)


def most_frequent(counts: Mapping[str, int]) -> tuple[str, float]:
    """The label with the most rows, the first of equals, and its share of them."""
    label = max(counts, key=counts.__getitem__)
    return label, counts[label] / max(1, sum(counts.values()))
