"""Contents of the page's tables that are not in report.json: other metrics, and mistakes among many labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from softprompt.comparison.report.report_view import MAX_NAMED_METHODS, ReportView

#: With more labels than this the page shows the worst labels and the most frequent mistakes, not the whole matrix.
MAX_MATRIX_LABELS, MAX_MISTAKES, MAX_WORST_LABELS = 12, 10, 10

#: Number of methods that have a table of their mistakes, where there are many methods.
MAX_CONFUSION_TABLES = 6

#: The accuracy of always answering the most frequent label: the same for every method, so it has no column.
MAJORITY_METRIC = "majority"


@dataclass(frozen=True)
class LabelRecall:
    """The recall of a label.

    Attributes:
        label: the label.
        mean: mean recall of the methods.
        recall_by_method: recall of each method, by its name.
    """

    label: str
    mean: float
    recall_by_method: Mapping[str, float]


@dataclass(frozen=True)
class LabelConfusion:
    """A mistake that a method makes.

    Attributes:
        label: right label.
        predicted: predicted label.
        count: number of such mistakes.
    """

    label: str
    predicted: str
    count: int


def list_other_metrics(view: ReportView) -> list[str]:
    """Return the metrics other than the headline metric that any method has on the test set."""
    names = dict.fromkeys(metric for method in view.scored_methods for metric in view.results[method].metrics)
    return [name for name in names if name not in (view.metric, MAJORITY_METRIC)]


def list_out_of_domain_metrics(view: ReportView) -> list[str]:
    """Return the metrics that any method has on out-of-domain data."""
    by_method = [view.results[method].out_of_domain_metrics or {} for method in view.scored_methods]
    return list(dict.fromkeys(name for metrics in by_method for name in metrics if name != MAJORITY_METRIC))


def select_confusion_methods(view: ReportView) -> list[str]:
    """Return the methods whose mistakes are shown: all, or the leading ones where there are many."""
    known = [name for name in view.scored_methods if view.results[name].confusion_matrix]
    if len(known) <= MAX_NAMED_METHODS:
        return known
    wanted = [view.recommended_method, view.best_method, view.baseline_method, *view.named_methods]
    return [name for name in dict.fromkeys(wanted) if name in known][:MAX_CONFUSION_TABLES]


def find_worst_labels(view: ReportView) -> list[LabelRecall]:
    """Return the labels with the lowest recall, the worst first, with the recall of each highlighted method.

    Only labels are listed that the test set has and that at least one method mistakes.
    """
    labels = view.report.task.labels
    matrices = {name: matrix for name in view.named_methods if (matrix := view.results[name].confusion_matrix)}
    worst = []
    for index, label in enumerate(labels):
        recalls = {
            name: matrix[index][index] / sum(matrix[index]) for name, matrix in matrices.items() if sum(matrix[index])
        }
        if recalls and min(recalls.values()) < 1:
            worst.append(LabelRecall(label, sum(recalls.values()) / len(recalls), recalls))
    return sorted(worst, key=lambda entry: entry.mean)[:MAX_WORST_LABELS]


def find_top_confusions(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> list[LabelConfusion]:
    """Return the most frequent mistakes."""
    wrong = [
        (count, labels[i], labels[j]) for i, row in enumerate(matrix) for j, count in enumerate(row) if i != j and count
    ]
    most = sorted(wrong, key=lambda mistake: -mistake[0])[:MAX_MISTAKES]
    return [LabelConfusion(label, predicted, count) for count, label, predicted in most]
