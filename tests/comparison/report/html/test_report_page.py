"""The page without a browser: complete, self-contained, escaped; and the files next to it."""

from __future__ import annotations

import errno
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from softprompt.atomic import atomic_write_file
from softprompt.comparison.report import parse_report, write_report
from softprompt.comparison.report.method_result import MethodResult
from softprompt.comparison.report.report_view import ReportView
from softprompt.errors import DiskFull
from tests.comparison.report.conftest import REPORTS
from tests.comparison.report.sample_reports import classifying, finished

VOID = {"meta", "link", "br", "hr", "img", "input", "col", "wbr", "source", "area", "base"}


class Page(HTMLParser):
    """Parser of a page: nesting of elements, their texts, and their links."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.said: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == [], "elements that are never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> within <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.said.setdefault(self.open[-1], []).append(data)
            if self.headings and re.fullmatch(r"h[1-6]", self.open[-1]):
                level, words = self.headings[-1]
                self.headings[-1] = level, words + data

    def text(self, *tags: str) -> str:
        """Return the text directly inside elements of these kinds, or of all elements."""
        return " ".join(words for tag in tags or self.said for words in self.said.get(tag, []))

    def having(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


@pytest.fixture(params=["full", "minimal", "failing", "all failed", "writing"])
def written(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> tuple[dict[str, Any], Path]:
    return REPORTS[request.param](), folder_of(request.param)


@pytest.fixture
def full(folder_of: Callable[[str], Path]) -> Path:
    return folder_of("full")


def page_of(report: dict[str, Any], folder: Path) -> str:
    write_report(parse_report(report), folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_is_valid_html_without_scripts_or_external_resources(written: tuple[dict[str, Any], Path]):
    text = (written[1] / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "base"), tag
        for name in ("src", "srcset", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    style = page.text("style") + " ".join(page.having("style"))
    assert "@import" not in style
    assert not re.search(r"url\(\s*['\"]?(?!#)", style)
    assert "default-src 'none'" in text


def test_the_page_names_every_method_and_contains_the_command(written: tuple[dict[str, Any], Path]):
    report, folder = written
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    for method in report["methods"].values():
        assert method["title"] in page.text("th", "dt")
        assert method.get("error", "") in page.text("dd")
    assert page.text("code") == report["command"]
    assert report["task"]["template"] in page.text("pre")
    said = page.text().replace("\N{NO-BREAK SPACE}", " ")
    for words in (report["recommendation"]["summary"], *report["recommendation"]["reasons"]):
        assert words in said


def test_repeated_tokens_have_a_column_only_if_a_request_repeats_any(tmp_path: Path):
    def heads(num_tokens: int | None) -> str:
        report = classifying(("hard", "few-shot", "prefix"), thorough=False)
        for name, count in (("hard", 0), ("few-shot", num_tokens)):
            report["methods"][name] |= {} if count is None else {"num_request_tokens": count}
        page = Page(page_of(report, tmp_path))
        assert ("1,024" in page.text("td")) == (num_tokens == 1024)
        return page.text("th")

    assert "Tokens repeated per request" in heads(1024)
    assert "Tokens repeated" not in heads(0)
    assert "Tokens repeated" not in heads(None)


def test_incomparable_methods_and_skipped_runs_are_listed(folder_of: Callable[[str], Path]):
    page = Page((folder_of("writing") / "report.html").read_text(encoding="utf-8"))
    headings = [words for _, words in page.headings]
    assert "Not comparable" in headings
    assert "Failed" not in headings
    assert "bleu 35" in page.text("dd").lower()
    assert "900 virtual tokens: choose fewer" in page.text("dd")
    assert "250" in page.text("td")  # number of API requests


def test_heading_levels_are_not_skipped(written: tuple[dict[str, Any], Path]):
    headings = Page((written[1] / "report.html").read_text(encoding="utf-8")).headings
    levels = [level for level, _ in headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert headings[1] == (2, "Recommendation")
    assert all(words.strip() for _, words in headings)


def test_every_plot_and_table_has_an_accessible_name(written: tuple[dict[str, Any], Path]):
    page = Page((written[1] / "report.html").read_text(encoding="utf-8"))
    ids = page.having("id")
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes["role"] == "img"
        if tag == "svg" or attributes.get("role") == "region":
            assert attributes.get("aria-label") or attributes["aria-labelledby"] in ids
        if tag == "th":
            assert attributes.get("scope") in ("row", "col", "colgroup", "rowgroup")
    assert any(a.get("name") == "viewport" for tag, a in page.elements if tag == "meta")


def test_a_full_page_has_every_section(full: Path):
    page = Page((full / "report.html").read_text(encoding="utf-8"))
    assert [words for level, words in page.headings if level == 2] == [
        "Recommendation",
        "Methods",
        "Significant differences",
        "Quality and cost",
        "With other data and settings",
        "Mistakes",
        "Other metrics",
        "Learning rate search",
        "API usage",
        "How this was measured",
    ]
    assert sum(tag == "svg" for tag, _ in page.elements) == 7


def test_the_methods_table_contains_the_measurements(full: Path):
    page = Page((full / "report.html").read_text(encoding="utf-8"))
    values, small = page.text("td"), page.text("small")
    for words in ("91.2%", "90.7%", "460,800", "1.8 MB", "2 min 22 s", "121", "1.4 GB", "32.5"):
        assert words in values
    for words in ("± 0.4", "0.343%", "10 min 53 s in total", "34 ms", "3.21 → 3.21", "8.8 to 11.2"):
        assert words in small


def test_every_difference_has_its_verdict_as_text(full: Path):
    page, report = Page((full / "report.html").read_text(encoding="utf-8")), classifying()
    verdicts = [test["verdict"] for method in report["methods"].values() for test in method["pairwise_tests"].values()]
    hidden = page.text("span")
    for verdict in ("better", "worse", "no difference shown"):
        assert hidden.count(f" {verdict} ") >= verdicts.count(verdict) > 0


def test_a_list_of_mistakes_replaces_the_confusion_matrix_of_many_labels(tmp_path: Path):
    report = classifying(("hard", "prefix"), thorough=False)
    labels = [f"intent {n}" for n in range(20)]
    report["task"]["labels"] = labels
    for method in report["methods"].values():
        method["confusion_matrix"] = [
            [9 if i == j else 7 if (i, j) == (3, 4) else 0 for j in range(20)] for i in range(20)
        ]
    page = Page(page_of(report, tmp_path))
    assert page.text("th").count("intent 3") == 3  # in each method's list, and among the labels that are found least
    assert page.text("td").count("intent 4") == 2
    assert "intent 12" not in page.text("th", "td")


def test_user_text_is_never_parsed_as_html(tmp_path: Path):
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;"
    report = classifying(("hard", "prefix", "api"))
    report["task"] |= {"template": attack + "{text}", "labels": [attack, "positive"]}
    report["command"] = attack
    report["model"] |= {"name": attack, "fingerprint": attack}
    for split in ("train", "validation", "test"):
        report["data"][split]["source"] = attack
    report["data"]["overlap"] = {attack: 1}
    report["machine"] = report["created_at"] = report["softprompt_version"] = attack
    for method in report["methods"].values():
        method["title"] = attack
        method["metrics_by_setting"] = {attack: {attack: {"accuracy": method["metrics"]["accuracy"]}}}
    report["methods"][attack] = {"title": attack, "kind": "weights", "status": "failed", "error": attack}
    page = Page(page_of(finished(report), tmp_path))
    assert not any(tag in ("script", "img") for tag, _ in page.elements)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert attack + "{text}" in page.text("pre")
    assert page.text("code") == attack
    for svg in (tmp_path / "plots").glob("*.svg"):
        assert "<script" not in svg.read_text(encoding="utf-8")


def test_report_json_contains_the_whole_report(full: Path):
    assert json.loads((full / "report.json").read_text(encoding="utf-8")) == json.loads(json.dumps(classifying()))


def test_every_plot_is_written_as_png_and_svg(full: Path):
    plots = sorted(path.name for path in (full / "plots").iterdir())
    names = ("learning", "low-data", "quality", "quality-parameters", "quality-time", "sweep-1", "sweep-2")
    assert plots == sorted(f"{name}.{form}" for name in names for form in ("png", "svg"))
    for path in (full / "plots").iterdir():
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG") if path.suffix == ".png" else b"<svg" in content


def test_non_finite_numbers_are_written_as_null(tmp_path: Path):
    report = classifying(("hard", "prefix"), thorough=False)
    report["methods"]["prefix"]["metrics"]["loss"]["mean"] = math.nan
    report["methods"]["prefix"]["useful_tokens_per_second"] = math.inf
    report["methods"]["prefix"]["training_curve"][0]["metrics"]["accuracy"] = math.nan
    page_of(report, tmp_path)
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert found["methods"]["prefix"]["metrics"]["loss"]["mean"] is None
    assert found["methods"]["prefix"]["useful_tokens_per_second"] is None


def test_missing_measurements_are_shown_as_dashes(tmp_path: Path):
    report = classifying(("hard", "prefix"), thorough=False)
    optional = {name for name, field in MethodResult.model_fields.items() if not field.is_required()} - {"status"}
    for name, method in report["methods"].items():
        report["methods"][name] = {fact: value for fact, value in method.items() if fact not in optional}
        report["methods"][name] |= {"metrics": {"accuracy": method["metrics"]["accuracy"]}}
        report["methods"][name] |= {"pairwise_tests": method["pairwise_tests"]}
    page = Page(page_of(finished(report), tmp_path))
    assert "None" not in page.text()
    assert "nan" not in page.text("td", "small")
    assert page.text("td").count("–") >= 10


def test_writing_a_report_again_writes_the_same_bytes_and_leaves_no_temporary_files(tmp_path: Path):
    report = classifying(("hard",), thorough=False)
    write_report(parse_report(report), tmp_path)
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_report(parse_report(report), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == first
    assert not any(path.name.endswith(".tmp") for path in first)


def test_the_previous_page_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    report = classifying(("hard",), thorough=False)
    before = page_of(report, tmp_path)

    def full_from_the_page_on(path: Path, content: bytes) -> None:
        if path.suffix == ".html":
            raise OSError(errno.ENOSPC, "No space left on device")
        atomic_write_file(path, content)

    monkeypatch.setattr("softprompt.comparison.report.report_writer.atomic_write_file", full_from_the_page_on)
    report["command"] = "softprompt compare --seeds 5"
    with pytest.raises(DiskFull, match=re.escape(str(tmp_path))):
        write_report(parse_report(report), tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["command"] == report["command"]


def test_report_json_is_written_even_if_a_plot_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(findings: ReportView) -> None:
        raise ArithmeticError

    monkeypatch.setattr("softprompt.comparison.report.report_writer.build_plots", fail)
    with pytest.raises(ArithmeticError):
        write_report(parse_report(classifying(("hard",), thorough=False)), tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["headline_metric"] == "accuracy"
