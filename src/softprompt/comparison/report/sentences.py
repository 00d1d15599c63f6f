"""Parts of a report's sentences: method names, quality, and the beginning and end of a sentence."""

from __future__ import annotations

from softprompt.comparison.report.formatters import capitalize_first, format_metric, get_metric_name
from softprompt.comparison.report.report_view import ReportView


def make_sentence(text: str) -> str:
    """Return a text with a capital first letter and a full stop."""
    return capitalize_first(text) + "."


def format_method_name(view: ReportView, name: str) -> str:
    """Return the title of a method for use inside a sentence.

    The hard prompt takes an article, and the part of a title after a comma goes into brackets.
    """
    title, comma, rest = view.get_title(name).partition(", ")
    phrase = f"{title} ({rest})" if comma else title
    return f"the {phrase}" if name == "hard" else phrase


def describe_quality(view: ReportView, name: str) -> str:
    """Describe the headline metric of a method, as a predicate that follows "it"."""
    metric, score = view.metric, view.get_score(name)
    mean = format_metric(score.mean, metric)
    worst = f" (worst seed {format_metric(score.worst, metric)})" if len(score.values) > 1 else ""
    if metric == "accuracy":
        return f"is right on {mean} of the test set{worst}"
    article = "an" if metric in ("f1", "exact_match") else "a"
    return f"has {article} {get_metric_name(metric)} of {mean} on the test set{worst}"
