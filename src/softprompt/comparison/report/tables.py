"""What the page's tables hold beyond the report itself: the other figures of merit, and mistakes among many labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softprompt.comparison.report.findings import MOST_NAMED, Findings

#: Beyond so many labels a table of all against all is not read: then the worst labels and most frequent mistakes are.
MOST_LABELS, MOST_MISTAKES, MOST_WORST = 12, 10, 10

#: Of more ways not all have a table of their mistakes.
MOST_TABLES = 6

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


def confused_ways(findings: Findings) -> list[str]:
    """The ways whose mistakes are shown: all, or of many some of the foremost."""
    known = [name for name in findings.judged if findings.ways[name].get("confusion")]
    if len(known) <= MOST_NAMED:
        return known
    recommended = (findings.report.get("recommendation") or {}).get("way")
    wanted = [recommended, findings.best, findings.baseline, *findings.foremost]
    return [name for name in dict.fromkeys(wanted) if name in known][:MOST_TABLES]


def worst_labels(findings: Findings) -> list[dict[str, Any]]:
    """The labels that are told least often, the worst first: each with the share that each way of `foremost` tells.

    Only labels that the test set has and a way mistakes, and ways with a confusion.
    """
    labels = findings.report["task"]["labels"]
    tables = {name: table for name in findings.foremost if (table := findings.ways[name].get("confusion"))}
    found = []
    for place, label in enumerate(labels):
        told = {name: table[place][place] / sum(table[place]) for name, table in tables.items() if sum(table[place])}
        if told and min(told.values()) < 1:
            found.append({"label": label, "mean": sum(told.values()) / len(told), "ways": told})
    return sorted(found, key=lambda each: each["mean"])[:MOST_WORST]


def mistakes(table: Sequence[Sequence[int]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent mistakes: the right label, the predicted one and how often."""
    wrong = [
        (count, labels[i], labels[j]) for i, row in enumerate(table) for j, count in enumerate(row) if i != j and count
    ]
    most = sorted(wrong, key=lambda each: -each[0])[:MOST_MISTAKES]
    return [{"right": right, "predicted": predicted, "count": count} for count, right, predicted in most]
