"""Makes the labels and names of a report safe to display. Only report.json has them unchanged.

Control and bidirectional characters are escaped, labels are on one line, and very long labels are cut to fit a column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from softprompt.comparison.report.report_schema import ComparisonResults, SplitInfo
from softprompt.unicode_text import escape_controls

MAX_LABEL_CHARS = 60

AnyReport = TypeVar("AnyReport", bound=ComparisonResults)
"""A report with or without its recommendation."""


def sanitize_report(report: AnyReport) -> AnyReport:
    """Return a report with every text escaped, and with short, distinct labels."""
    sanitized = type(report).model_validate(_escape_texts(report.model_dump()))
    labels = report.task.labels
    shown = shorten_labels(labels)
    names = dict(zip(labels, shown, strict=True))
    splits = {
        name: _shorten_majority(getattr(sanitized.data, name), split, names)
        for name in ("train", "validation", "test", "out_of_domain")
        if (split := getattr(report.data, name)) is not None
    }
    return sanitized.model_copy(
        update={
            "task": sanitized.task.model_copy(update={"labels": tuple(shown)}),
            "data": sanitized.data.model_copy(update=splits),
        }
    )


def _shorten_majority(sanitized: SplitInfo, split: SplitInfo, names: Mapping[str, str]) -> SplitInfo:
    if split.majority is None:
        return sanitized
    label = names.get(split.majority.label) or shorten_label(split.majority.label)
    return sanitized.model_copy(update={"majority": split.majority.model_copy(update={"label": label})})


def shorten_labels(labels: Sequence[str]) -> list[str]:
    """Return the labels as displayed, in the same order; labels that would look alike are numbered."""
    shown = [shorten_label(label) for label in labels]
    alike = {label for label, count in Counter(shown).items() if count > 1}
    return [f"{label} [{i}]" if label in alike else label for i, label in enumerate(shown, 1)]


def shorten_label(label: str) -> str:
    """Return a label on one line, with invisible characters escaped, and cut to `MAX_LABEL_CHARS`."""
    if len(label) > MAX_LABEL_CHARS:
        return f"{escape_controls(label[:MAX_LABEL_CHARS], keep='')}… ({len(label):,} characters)"
    return escape_controls(label, keep="")


def _escape_texts(value: Any) -> Any:
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, Mapping):
        return {escape_controls(str(name)): _escape_texts(item) for name, item in value.items()}
    return [_escape_texts(item) for item in value] if isinstance(value, list | tuple) else value
