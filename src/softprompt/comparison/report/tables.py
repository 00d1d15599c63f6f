"""What the page's tables hold beyond the report itself: the other figures of merit, and mistakes among many labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softprompt.comparison.report.findings import Findings

#: Beyond so many labels a table of all against all is not read: then the most frequent mistakes are listed.
MOST_LABELS, MOST_MISTAKES = 12, 10

#: What always answering the most frequent label is worth: the same for every way, so it has no column.
MAJORITY = "majority"


def metrics_of(findings: Findings) -> list[str]:
    """The figures of merit beside the headline that any way has on the test set."""
    found = dict.fromkeys(name for way in findings.judged for name in _figures(findings.ways[way]))
    return [name for name in found if name not in (findings.metric, MAJORITY)]


def metrics_elsewhere(findings: Findings) -> list[str]:
    """The figures of merit that any way has on data of another domain."""
    every = [findings.ways[way].get("out_of_domain") or {} for way in findings.judged]
    return list(dict.fromkeys(name for figures in every for name in _figures(figures) if name != MAJORITY))


def _figures(facts: Mapping[str, Any]) -> list[str]:
    return [
        name for name, value in facts.items() if isinstance(value, Mapping) and "mean" in value and "seeds" in value
    ]


def mistakes(table: Sequence[Sequence[int]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent mistakes: the right label, the predicted one and how often."""
    wrong = [
        (count, labels[i], labels[j]) for i, row in enumerate(table) for j, count in enumerate(row) if i != j and count
    ]
    most = sorted(wrong, key=lambda each: -each[0])[:MOST_MISTAKES]
    return [{"right": right, "predicted": predicted, "count": count} for count, right, predicted in most]
