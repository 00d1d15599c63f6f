"""A report as people can read it, whatever its labels and names are: report.json alone has them as they are.

Control and bidirectional characters are escapes, a label stands on one line, and a very long one is cut, so that its
column leaves room for the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from softprompt.unicode_text import escape_controls

LONGEST_LABEL = 60


def make_readable(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report with every text escaped, and its labels short and all different."""
    shown: dict[str, Any] = _escape(report)
    task, names = dict(report.get("task") or {}), {}
    if labels := task.get("labels"):
        names = dict(zip(labels, shorten_labels(labels), strict=True))
        shown["task"]["labels"] = list(names.values())
    for name, split in (report.get("data") or {}).items():
        if isinstance(split, Mapping) and (majority := split.get("majority")):
            label = majority["label"]
            shown["data"][name]["majority"]["label"] = names.get(label) or shorten_label(label)
    return shown


def shorten_labels(labels: Sequence[str]) -> list[str]:
    """Labels as they are shown, in their order; those that would look alike are numbered."""
    shown = [shorten_label(label) for label in labels]
    alike = {label for label, count in Counter(shown).items() if count > 1}
    return [f"{label} [{i}]" if label in alike else label for i, label in enumerate(shown, 1)]


def shorten_label(label: str) -> str:
    """A label on one line, without what cannot be seen, and cut where it is longer than a column is wide."""
    if len(label) > LONGEST_LABEL:
        return f"{escape_controls(label[:LONGEST_LABEL], keep='')}… ({len(label):,} characters)"
    return escape_controls(label, keep="")


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, Mapping):
        return {escape_controls(str(name)): _escape(each) for name, each in value.items()}
    return [_escape(each) for each in value] if isinstance(value, list | tuple) else value
