"""The recommendation of a report, in sentences. A method is called better only where the paired test shows it."""

from __future__ import annotations

from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.report.caveats import list_caveats
from softprompt.comparison.report.formatters import format_interval, format_metric, format_points, join_few
from softprompt.comparison.report.method_selection import select_method
from softprompt.comparison.report.reasons import list_reasons
from softprompt.comparison.report.report_sanitizer import sanitize_report
from softprompt.comparison.report.report_schema import ComparisonResults, Recommendation, Report
from softprompt.comparison.report.report_view import ReportView
from softprompt.comparison.report.sentences import describe_quality, format_method_name, make_sentence


def add_recommendation(results: ComparisonResults) -> Report:
    """Return the report of a comparison's results."""
    return Report(**dict(results), recommendation=recommend_method(results))


def recommend_method(results: ComparisonResults) -> Recommendation:
    """Return the recommendation of a comparison's results. If they are a report, its own recommendation is ignored."""
    view = ReportView(sanitize_report(results))
    if not view.scored_methods:
        summary = "No method can be recommended: all of them failed."
        return Recommendation(method=None, summary=summary, reasons=(), caveats=tuple(list_caveats(view, None)))
    method = select_method(view)
    return Recommendation(
        method=method,
        summary=" ".join([_describe_choice(view, method), *_describe_rivals(view, method)]),
        reasons=tuple(list_reasons(view, method)),
        caveats=tuple(list_caveats(view, method)),
    )


def _describe_choice(view: ReportView, method: str) -> str:
    title, quality = format_method_name(view, method), describe_quality(view, method)
    if view.methods[method].kind is MethodKind.PROMPTING:
        return f"Use {title} and train nothing: it {quality}{_compare_with_baseline(view, method)}."
    return f"Use {title}: it {quality}{_compare_with_baseline(view, method)}."


def _compare_with_baseline(view: ReportView, method: str) -> str:
    """Describe the difference from the baseline, if the baseline is another method and both were tested."""
    base = view.baseline_method
    if base is None or base == method or (test := view.get_pairwise_test(method, base)) is None:
        return ""
    interval, difference = format_interval(test.ci_low, test.ci_high, view.metric), test.difference
    if not view.is_significantly_better(method, base):
        points = format_points(difference, view.metric)
        return (
            f", which is not shown to be better than {format_method_name(view, base)} (difference {points}, {interval})"
        )
    if view.metric == "accuracy":
        return f", {format_points(difference, view.metric)} more than {format_method_name(view, base)} ({interval})"
    return (
        f", against {format_metric(view.get_metric_mean(base), view.metric)} of {format_method_name(view, base)} "
        f"(better by {format_points(difference, view.metric)}, {interval})"
    )


def _describe_rivals(view: ReportView, method: str) -> list[str]:
    """Name the method with the best mean if it is another one, or else the methods that are not shown to be worse."""
    others = [name for name in view.scored_methods if name != method]
    if not others:
        return ["It is the only method that was scored, so there is nothing to compare it with."]
    if method != view.best_method:
        return [_describe_best_mean(view, method)]
    if all(view.is_significantly_better(method, other) for other in others):
        return ["It is shown to be better than every other method that was scored."]
    tied = [format_method_name(view, name) for name in view.tied_methods if name != method]
    return ["It has the best mean."] + ([f"Not shown to be worse: {join_few(tied)}."] if tied else [])


def _describe_best_mean(view: ReportView, method: str) -> str:
    best = view.best_method
    test = view.get_pairwise_test(best, method)
    assert test is not None  # otherwise the method would not be tied with the best one
    points = format_points(test.difference, view.metric)
    interval = format_interval(test.ci_low, test.ci_high, view.metric)
    mean = format_metric(view.get_metric_mean(best), view.metric)
    return make_sentence(
        f"{format_method_name(view, best)} has the best mean, {mean}, but is not shown to be better "
        f"(difference {points}, {interval})"
    )
