"""The plots: their contents, labels without overlaps, and reproducible files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from softprompt.comparison.report import parse_report
from softprompt.comparison.report.plots.palette import DARK_PALETTE, LIGHT_PALETTE, METHOD_ROLES, get_color_role
from softprompt.comparison.report.plots.plot_axes import get_power_ticks, get_time_ticks
from softprompt.comparison.report.plots.plot_builder import build_plots
from softprompt.comparison.report.plots.report_plot import ReportPlot, make_inline_svg, render_figure
from softprompt.comparison.report.plots.scatter_plots import get_series_style, plot_quality_by_parameters
from softprompt.comparison.report.report_view import ReportView
from tests.comparison.report.sample_reports import CLASSIFYING, classifying, failing, finished, writing


def charts(report: dict[str, Any]) -> dict[str, ReportPlot]:
    return {chart.name: chart for chart in build_plots(ReportView(parse_report(report)))}


@pytest.fixture(scope="module")
def full() -> dict[str, ReportPlot]:
    return charts(classifying())


def words(figure: Figure) -> list[str]:
    """Return the texts of a plot's SVG, one per line."""
    tree = ElementTree.fromstring(render_figure(figure, "svg"))
    return [element.text or "" for element in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_a_full_report_has_every_plot(full: dict[str, ReportPlot]):
    assert list(full) == [
        "quality",
        "quality-parameters",
        "quality-time",
        "learning",
        "low-data",
        "sweep-1",
        "sweep-2",
    ]


def test_plots_without_metrics_are_left_out():
    assert list(charts(writing())) == ["quality", "quality-parameters", "quality-time", "learning"]
    assert list(charts(classifying(("hard",), thorough=False))) == ["quality", "quality-parameters", "quality-time"]
    assert charts(failing(every=True)) == {}


@pytest.mark.parametrize("name", ["quality", "quality-parameters", "quality-time", "low-data"])
def test_plots_of_all_methods_name_every_method(full: dict[str, ReportPlot], name: str):
    found = " ".join(words(full[name].figure))
    for title, *_ in CLASSIFYING.values():
        assert title in found


def test_methods_without_trained_parameters_are_drawn_left_of_all_others():
    findings = ReportView(parse_report(classifying()))
    axes = plot_quality_by_parameters(findings).figure.axes[0]
    marks = {line.get_color(): float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() != "None"}
    place = {name: marks[get_series_style(findings, name)["color"]] for name in findings.scored_methods}
    nothing = {place[name] for name in ("hard", "few-shot", "api")}
    trained = {place[name] for name in place if name not in ("hard", "few-shot", "api")}
    assert len(nothing) == 1
    assert max(nothing) < min(trained)
    assert axes.get_xlim()[0] < min(nothing)
    assert axes.get_xlim()[1] > max(trained)
    assert axes.get_xticklabels()[0].get_text() == "none"


def test_a_method_has_the_same_color_in_every_plot(full: dict[str, ReportPlot]):
    colour = LIGHT_PALETTE[get_color_role(list(CLASSIFYING).index("prefix"))]
    assert all(colour in render_figure(chart.figure, "svg").decode() for chart in full.values())
    assert len({get_color_role(place) for place in range(len(METHOD_ROLES))}) == len(METHOD_ROLES)


@pytest.mark.parametrize("name", ["quality-parameters", "quality-time", "learning", "low-data", "sweep-1"])
def test_labels_do_not_overlap_and_are_inside_the_plot(full: dict[str, ReportPlot], name: str):
    figure = full[name].figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    labels = [text for text in figure.axes[0].texts if text.get_text()]
    figure.draw_without_rendering()
    boxes = [(label.get_text(), Text.get_window_extent(label, renderer)) for label in labels]  # without the leader line
    assert boxes
    for (one, mine), (other, its) in itertools.combinations(boxes, 2):
        assert not mine.overlaps(its), f"{one!r} covers {other!r}"
    for label, box in boxes:
        assert figure.bbox.x0 <= box.x0, label
        assert box.x1 <= figure.bbox.x1, label
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, label


def test_swept_numbers_have_a_logarithmic_axis_and_swept_words_a_categorical_one(full: dict[str, ReportPlot]):
    numbers, categories = (full[name].figure.axes[0] for name in ("sweep-1", "sweep-2"))
    places = numbers.get_xticks()
    assert [tick.get_text() for tick in numbers.get_xticklabels()] == ["1", "5", "20", "100"]
    assert places[1] - places[0] == pytest.approx(0.699, abs=0.001)  # by logarithms, since they span 1 to 100
    assert [tick.get_text() for tick in categories.get_xticklabels()] == ["random", "text", "labels"]
    assert list(categories.get_xticks()) == [0, 1, 2]


def test_the_low_data_curve_ends_with_all_examples(full: dict[str, ReportPlot]):
    ticks = [tick.get_text() for tick in full["low-data"].figure.axes[0].get_xticklabels()]
    assert sorted(ticks, key=int) == ["16", "64", "256", "500"]


def test_perplexity_has_a_logarithmic_axis():
    chart = charts(writing())["quality-parameters"]
    assert chart.figure.axes[0].get_yscale() == "log"
    assert "lower is better" in " ".join(words(chart.figure))


def test_plots_of_the_same_report_have_the_same_bytes():
    first, again = (charts(classifying(("hard", "prefix"), thorough=False)) for _ in range(2))
    for name, chart in first.items():
        for form in ("svg", "png"):
            assert render_figure(chart.figure, form) == render_figure(again[name].figure, form)
            assert b"Matplotlib" not in render_figure(chart.figure, form)


def test_an_inline_plot_uses_the_colors_of_the_page_and_unique_ids(full: dict[str, ReportPlot]):
    text = make_inline_svg(full["quality"], render_figure(full["quality"].figure, "svg"), "about-quality")
    assert not re.search(r"#[0-9a-f]{6}", text)
    assert set(re.findall(r"var\(--([\w-]+)\)", text)) <= set(LIGHT_PALETTE)
    assert all(name.startswith("quality-") for name in re.findall(r'\sid="([^"]*)"', text))
    assert set(re.findall(r"(?:url\(|href=\")#([^)\"]*)", text)) <= set(re.findall(r'\sid="([^"]*)"', text))
    assert "<style" not in text
    assert "font-family" not in text
    assert 'role="img" aria-labelledby="about-quality"' in text


def test_special_characters_in_titles_are_drawn_literally():
    report = classifying(("hard", "prefix"), thorough=False)
    report["methods"]["prefix"]["title"] = "$x_$ <b> & 前缀"
    for chart in charts(finished(report)).values():
        render_figure(chart.figure, "png")
    assert "$x_$ <b> & 前缀" in " ".join(words(charts(report)["quality"].figure))


def test_twelve_methods_have_distinct_markers_or_colors():
    report = classifying(("hard", "prefix"), thorough=False)
    extra = {f"more-{n}": report["methods"]["prefix"] | {"title": f"way {n}"} for n in range(10)}
    report["methods"] |= extra
    findings = ReportView(parse_report(report))
    looks = {tuple(get_series_style(findings, name).values()) for name in report["methods"]}
    assert len(looks) == 12
    assert len(charts(report)) == 4


@pytest.mark.parametrize("colours", [LIGHT_PALETTE, DARK_PALETTE])
def test_colors_have_enough_contrast_with_the_background(colours: dict[str, str]):
    for role in ("ink", "muted", "good", "bad"):
        assert min(contrast(colours[role], colours[ground]) for ground in ("paper", "panel")) >= 4.5, role
    for role in METHOD_ROLES:
        assert contrast(colours[role], colours["paper"]) >= 3, role
    assert len(set(colours.values())) == len(colours)  # each color has one role in the page


def test_the_light_and_dark_palettes_have_the_same_color_roles():
    assert list(LIGHT_PALETTE) == list(DARK_PALETTE)


def contrast(one: str, other: str) -> float:
    """Compute the contrast of two colors as defined by WCAG."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([1154.0, 134_515_008.0], ["1k", "100k", "10M", "1G"]),
        ([460_800.0], ["100k", "1M"]),
        ([], []),
    ],
)
def test_a_logarithmic_axis_has_ticks_at_powers_of_ten(values: Sequence[float], ticks: list[str]):
    found = list(get_power_ticks(values).values())
    assert found == ticks or found == ticks[:-1]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([40.0, 402.0], ["30 s", "1 min", "3 min", "10 min"]),
        ([0.5, 7200.0], ["1 s", "10 s", "1 min", "10 min", "1 h"]),
        ([], []),
    ],
)
def test_a_time_axis_has_ticks_at_round_times_with_units(values: Sequence[float], ticks: list[str]):
    assert set(ticks) <= set(get_time_ticks(values).values())
    assert len(get_time_ticks(values)) <= len(ticks) + 2
