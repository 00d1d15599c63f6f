"""Many ways and many labels: the report names the foremost, counts the others, and stays readable."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from softprompt.comparison.report.charts import draw
from softprompt.comparison.report.colours import MARKS, WAYS, mark_of, role_of, sign_of
from softprompt.comparison.report.findings import MOST_NAMED, Findings
from softprompt.comparison.report.quantities import list_few
from softprompt.comparison.report.tables import MOST_TABLES, MOST_WORST, worst_labels
from tests.comparison.report.samples import classifying, finished, wide

WIDE = 30


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return wide(WIDE, 50)


@pytest.fixture(scope="module")
def html(folder_of: Callable[[str], Path]) -> str:
    return (folder_of("wide") / "report.html").read_text("utf-8")


def sentences(report: dict[str, Any]) -> list[str]:
    advice = report["recommendation"]
    return [advice["words"], *advice["reasons"], *advice["changes"]]


def test_colour_and_mark_together_tell_every_way_from_every_other() -> None:
    looks = [(role_of(place), mark_of(place)) for place in range(len(WAYS) * len(MARKS))]
    assert len(set(looks)) == len(looks)
    assert [role_of(place) for place in range(len(WAYS))] == WAYS
    assert len({sign_of(place) for place in range(len(MARKS))}) == len(MARKS)


def test_a_sentence_names_a_few_and_counts_the_others() -> None:
    names = [f"way {number}" for number in range(20)]
    assert list_few(names[:1]) == "way 0"
    assert list_few(names[:6], 5) == "way 0, way 1, way 2, way 3, way 4 and way 5"  # no shorter with "1 more"
    assert list_few(names, 3) == "way 0, way 1, way 2 and 17 more"


def test_no_sentence_is_a_list_of_all_ways(report: dict[str, Any]) -> None:
    for words in sentences(report):
        assert len(words) < 500
    assert "and 17 more" in " ".join(sentences(report))


def test_ways_that_are_ahead_with_fewer_examples_share_a_sentence(report: dict[str, Any]) -> None:
    ways = {name: {**way, "sizes": {}} for name, way in report["ways"].items()}
    chosen = report["recommendation"]["way"]
    for name, way in ways.items():
        mean = 0.5 if name == chosen else 0.6
        way["sizes"] = {"16": {"accuracy": {"mean": mean, "spread": None, "worst": mean, "seeds": [mean]}}}
    changes = finished({**report, "ways": ways})["recommendation"]["changes"]
    found = [words for words in changes if "to train on" in words]
    assert len(found) == 1
    assert re.search(r"^With 16 examples to train on, .* and \d+ more are ahead in mean", found[0])


def test_ways_that_failed_alike_share_a_sentence(report: dict[str, Any]) -> None:
    names = list(report["ways"])
    ways = dict(report["ways"])
    for place, name in enumerate(names[-16:]):
        problem = "not enough memory" if place else "another problem"
        ways[name] = {"title": ways[name]["title"], "kind": ways[name]["kind"], "error": problem}
    found = [words for words in finished({**report, "ways": ways})["recommendation"]["changes"] if "failed" in words]
    assert len(found) == 2
    assert "and 10 more failed and were not judged: not enough memory." in found[1]


def test_what_was_left_out_for_one_reason_stands_together(report: dict[str, Any]) -> None:
    ways = {
        name: {**way, "left_out": {f"{name}/size/{n}": "too large" for n in (1, 2)}}
        for name, way in report["ways"].items()
    }
    found = Findings(finished({**report, "ways": ways})).left_out
    assert list(found) == ["too large"]
    assert len(found["too large"]) == 2 * WIDE


def test_the_foremost_hold_the_recommended_the_best_and_the_one_to_beat(report: dict[str, Any]) -> None:
    findings = Findings(report)
    assert len(findings.foremost) == MOST_NAMED
    assert {report["recommendation"]["way"], findings.best, findings.baseline} <= set(findings.foremost)
    few = Findings(classifying())
    assert few.foremost == few.judged


def test_plots_name_the_foremost_and_no_name_covers_another(report: dict[str, Any]) -> None:
    for chart in draw(Findings(report)):
        if chart.name == "quality":  # where each way has a line of its own
            continue
        chart.figure.draw_without_rendering()
        renderer = FigureCanvasAgg(chart.figure).get_renderer()
        labels = [text for text in chart.figure.axes[0].texts if text.get_text()]
        assert 0 < len(labels) <= MOST_NAMED
        boxes = [Text.get_window_extent(label, renderer) for label in labels]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2)), chart.name
        assert f"{WIDE - MOST_NAMED} more ways are drawn without their names" in chart.summary


def test_wide_tables_have_columns_for_the_foremost(html: str) -> None:
    [matrix] = re.findall(r'aria-labelledby="differences" tabindex="0">(.*?)</table>', html, re.DOTALL)
    assert matrix.count('<th scope="col">') == 1 + MOST_NAMED
    assert matrix.count('<th scope="row">') == WIDE
    assert f"{MOST_NAMED} of {WIDE}; report.json has all" in html


def test_the_worst_labels_stand_in_the_place_of_a_table_of_all(report: dict[str, Any], html: str) -> None:
    worst = worst_labels(Findings(report))
    assert (worst[0]["label"], len(worst)) == ("label 07", MOST_WORST)
    assert worst[0]["mean"] == pytest.approx(0.2)
    assert [each["mean"] for each in worst] == sorted(each["mean"] for each in worst)
    assert html.count('aria-label="Mistakes of ') == MOST_TABLES
    assert 'class="confusion"' not in html
    assert "label 19 and 30 more, from this template" in html
    assert len(html) < 400_000
