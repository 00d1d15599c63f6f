"""Many methods and many labels: the report names the leading ones, counts the others, and stays readable."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from softprompt.comparison.report import parse_report
from softprompt.comparison.report.formatters import join_few
from softprompt.comparison.report.html.table_data import MAX_CONFUSION_TABLES, MAX_WORST_LABELS, find_worst_labels
from softprompt.comparison.report.plots.palette import (
    MARKERS,
    METHOD_ROLES,
    get_color_role,
    get_marker,
    get_marker_symbol,
)
from softprompt.comparison.report.plots.plot_builder import build_plots
from softprompt.comparison.report.report_view import MAX_NAMED_METHODS, ReportView
from tests.comparison.report.sample_reports import classifying, finished, wide

WIDE = 30


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return wide(WIDE, 50)


@pytest.fixture(scope="module")
def html(folder_of: Callable[[str], Path]) -> str:
    return (folder_of("wide") / "report.html").read_text("utf-8")


def sentences(report: dict[str, Any]) -> list[str]:
    advice = report["recommendation"]
    return [advice["summary"], *advice["reasons"], *advice["caveats"]]


def test_every_combination_of_color_and_marker_is_unique() -> None:
    looks = [(get_color_role(place), get_marker(place)) for place in range(len(METHOD_ROLES) * len(MARKERS))]
    assert len(set(looks)) == len(looks)
    assert [get_color_role(place) for place in range(len(METHOD_ROLES))] == METHOD_ROLES
    assert len({get_marker_symbol(place) for place in range(len(MARKERS))}) == len(MARKERS)


def test_a_long_list_names_the_first_entries_and_counts_the_others() -> None:
    names = [f"way {number}" for number in range(20)]
    assert join_few(names[:1]) == "way 0"
    assert join_few(names[:6], 5) == "way 0, way 1, way 2, way 3, way 4 and way 5"  # no shorter with "1 more"
    assert join_few(names, 3) == "way 0, way 1, way 2 and 17 more"


def test_sentences_of_the_recommendation_stay_short_with_many_methods(report: dict[str, Any]) -> None:
    for words in sentences(report):
        assert len(words) < 500
    assert "and 17 more" in " ".join(sentences(report))


def test_methods_that_are_ahead_with_fewer_examples_share_a_sentence(report: dict[str, Any]) -> None:
    methods = {name: {**method, "metrics_by_train_size": {}} for name, method in report["methods"].items()}
    chosen = report["recommendation"]["method"]
    for name, method in methods.items():
        mean = 0.5 if name == chosen else 0.6
        method["metrics_by_train_size"] = {
            "16": {"accuracy": {"mean": mean, "std": None, "worst": mean, "values": [mean]}}
        }
    changes = finished({**report, "methods": methods})["recommendation"]["caveats"]
    found = [words for words in changes if "training examples" in words]
    assert len(found) == 1
    assert re.search(r"^With 16 training examples, .* and \d+ more are ahead in the mean", found[0])


def test_methods_that_failed_with_the_same_error_share_a_sentence(report: dict[str, Any]) -> None:
    names = list(report["methods"])
    methods = dict(report["methods"])
    for place, name in enumerate(names[-16:]):
        problem = "not enough memory" if place else "another problem"
        methods[name] = {
            "title": methods[name]["title"],
            "kind": methods[name]["kind"],
            "status": "failed",
            "error": problem,
        }
    found = [
        words for words in finished({**report, "methods": methods})["recommendation"]["caveats"] if "failed" in words
    ]
    assert len(found) == 2
    assert "and 10 more failed and were not scored: not enough memory." in found[1]


def test_runs_that_were_skipped_for_the_same_reason_are_listed_together(report: dict[str, Any]) -> None:
    methods = {
        name: {**method, "skipped_runs": {f"{name}/size/{n}": "too large" for n in (1, 2)}}
        for name, method in report["methods"].items()
    }
    found = ReportView(parse_report(finished({**report, "methods": methods}))).skipped_runs
    assert list(found) == ["too large"]
    assert len(found["too large"]) == 2 * WIDE


def test_named_methods_include_the_recommended_one_the_best_one_and_the_baseline(report: dict[str, Any]) -> None:
    findings = ReportView(parse_report(report))
    assert len(findings.named_methods) == MAX_NAMED_METHODS
    assert {report["recommendation"]["method"], findings.best_method, findings.baseline_method} <= set(
        findings.named_methods
    )
    few = ReportView(parse_report(classifying()))
    assert few.named_methods == few.scored_methods


def test_plots_name_the_leading_methods_without_overlaps(report: dict[str, Any]) -> None:
    for chart in build_plots(ReportView(parse_report(report))):
        if chart.name == "quality":  # where each method has a line of its own
            continue
        chart.figure.draw_without_rendering()
        renderer = FigureCanvasAgg(chart.figure).get_renderer()
        labels = [text for text in chart.figure.axes[0].texts if text.get_text()]
        assert 0 < len(labels) <= MAX_NAMED_METHODS
        boxes = [Text.get_window_extent(label, renderer) for label in labels]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2)), chart.name
        assert f"{WIDE - MAX_NAMED_METHODS} more methods are drawn without names" in chart.summary


def test_wide_tables_have_columns_for_the_leading_methods_only(html: str) -> None:
    [matrix] = re.findall(r'aria-labelledby="differences" tabindex="0">(.*?)</table>', html, re.DOTALL)
    assert matrix.count('<th scope="col">') == 1 + MAX_NAMED_METHODS
    assert matrix.count('<th scope="row">') == WIDE
    assert f"{MAX_NAMED_METHODS} of {WIDE}; report.json has all" in html


def test_the_worst_labels_are_listed_in_place_of_a_table_of_all_labels(report: dict[str, Any], html: str) -> None:
    worst = find_worst_labels(ReportView(parse_report(report)))
    assert (worst[0].label, len(worst)) == ("label 07", MAX_WORST_LABELS)
    assert worst[0].mean == pytest.approx(0.2)
    assert [each.mean for each in worst] == sorted(each.mean for each in worst)
    assert html.count('aria-label="Mistakes of ') == MAX_CONFUSION_TABLES
    assert 'class="confusion"' not in html
    assert "label 19 and 30 more, with this template" in html
    assert len(html) < 400_000
