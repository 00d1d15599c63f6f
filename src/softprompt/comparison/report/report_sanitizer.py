"""Makes the labels and names of a report safe to display. Only report.json has them unchanged.

Control and bidirectional characters are escaped, labels are on one line, and very long labels are cut to fit a column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from softprompt.unicode_text import escape_controls

MAX_LABEL_CHARS = 60


def sanitize_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with every text escaped, and with short, distinct labels."""
    sanitized: dict[str, Any] = _escape_texts(report)
    task, names = dict(report.get("task") or {}), {}
    if labels := task.get("labels"):
        names = dict(zip(labels, shorten_labels(labels), strict=True))
        sanitized["task"]["labels"] = list(names.values())
    for name, split in (report.get("data") or {}).items():
        if isinstance(split, Mapping) and (majority := split.get("majority")):
            label = majority["label"]
            sanitized["data"][name]["majority"]["label"] = names.get(label) or shorten_label(label)
    return sanitized


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
