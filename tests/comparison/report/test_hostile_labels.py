"""With any labels and names, a report is valid and readable: page, plots, report.json, recommendation."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison.report import parse_report, write_report
from softprompt.comparison.report.report_sanitizer import MAX_LABEL_CHARS, sanitize_report, shorten_labels
from tests.comparison.report.sample_reports import classifying, finished

LABELS = [
    "<script>alert(1)</script>",
    "</table><img src=x onerror=alert(1)>",
    "[red]markup[/red]",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202eevitagen\u2066",
    "x" * 10_000,
    "x" * 10_001,
    "x" * 9_999 + "y",
    "two\nlines\r\nand\ta tab",
    "\u200b",
    "{{ 7 * 7 }}{% raw %}",
    "=HYPERLINK(1)",
    "$\\frac{1}{2}$ & \"quoted\" 'too'",
    "السلام",
]
UNSEEN = set("\x1b\x07\r\u202e\u2066\u200b")


def hostile(labels: list[str]) -> dict[str, Any]:
    report = classifying(("hard", "prefix"), thorough=False)
    report["task"]["labels"] = labels
    report["task"]["template"] = f"{LABELS[0]} {LABELS[3]}\n{{text}}"
    report["data"]["test"]["source"] = f"{LABELS[1]}{LABELS[4]}.jsonl"
    report["data"]["test"]["majority"] = {"label": labels[5], "share": 0.9, "is_uneven": True}
    report["command"] = f"softprompt compare --labels '{LABELS[3]}'"
    for method in report["methods"].values():
        method["title"] += f" {LABELS[0]} {LABELS[4]}"
        method["confusion_matrix"] = [
            [9 if i == j and i else 0 for j in range(len(labels))] for i in range(len(labels))
        ]
        method["confusion_matrix"][0][1] = 3
    return finished(report)


class Read(HTMLParser):
    """Parser of a page's elements and text."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@pytest.mark.parametrize("count", [10, len(LABELS)], ids=["a table", "the most frequent mistakes"])
def test_a_report_with_hostile_labels_is_correct_and_readable(tmp_path: Path, count: int) -> None:
    report = hostile(LABELS[:count])
    write_report(parse_report(report), tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    page = Read(text)
    assert not set(text) & UNSEEN
    assert "script" not in page.tags
    assert "img" not in page.tags
    said = " ".join(page.said)
    assert LABELS[0] in said
    assert "x" * (MAX_LABEL_CHARS + 1) not in said
    assert "(10,000 characters)" in said
    assert len(text) < 400_000
    for plot in (tmp_path / "plots").glob("*.svg"):
        assert not set(plot.read_text("utf-8")) & UNSEEN
    kept = (tmp_path / "report.json").read_text("utf-8")
    assert not set(kept) & UNSEEN
    assert json.loads(kept)["task"]["labels"] == LABELS[:count]
    words = json.dumps(report["recommendation"], ensure_ascii=False)
    assert not set(words) & UNSEEN
    assert len(words) < 5_000


def test_shortened_labels_are_unique_and_printable() -> None:
    shown = shorten_labels(LABELS)
    assert len(set(shown)) == len(LABELS)
    assert all(label.isprintable() and len(label) < 100 for label in shown)
    assert shown[7] != shown[5]
    assert shorten_labels(["good", "bad"]) == ["good", "bad"]
    assert [each.rpartition(" ")[2] for each in shorten_labels(["z" * 100, "z" * 99 + "a"])] == ["[1]", "[2]"]


def test_sanitizing_does_not_change_an_ordinary_report() -> None:
    report = parse_report(classifying())
    assert sanitize_report(report) == report
