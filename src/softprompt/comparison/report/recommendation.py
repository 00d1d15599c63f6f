"""The recommendation in words. It never calls a way better where the paired test does not show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.comparison.report.changes import changes
from softprompt.comparison.report.choice import choose
from softprompt.comparison.report.findings import Findings, finite
from softprompt.comparison.report.quantities import figure, interval, list_few, points
from softprompt.comparison.report.readable import make_readable
from softprompt.comparison.report.reasons import reasons
from softprompt.comparison.report.sentences import named, quality, sentence


def recommend(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a report recommends.

    Args:
        report: all of report.json but its `recommendation`, which this is.

    Returns:
        `way`, the name of the recommended way or None, `words`, `reasons`, and under `changes` what would change it.
    """
    findings = Findings(make_readable(finite(report)))
    if not findings.judged:
        words = "No way can be recommended: every one of them failed."
        return {"way": None, "words": words, "reasons": [], "changes": changes(findings, None)}
    way = choose(findings)
    return {
        "way": way,
        "words": " ".join([_lead(findings, way), *_rivals(findings, way)]),
        "reasons": reasons(findings, way),
        "changes": changes(findings, way),
    }


def _lead(findings: Findings, way: str) -> str:
    facts, worth = findings.ways[way], quality(findings, way)
    title = named(findings, way)
    if facts["kind"] == "prompting":
        return f"Use {title} and train nothing: it {worth}{_against_baseline(findings, way)}."
    return f"Use {title}: it {worth}{_against_baseline(findings, way)}."


def _against_baseline(findings: Findings, way: str) -> str:
    """How far a way is from the hard prompt, if that is another and they were tested against one another."""
    base = findings.baseline
    if base is None or base == way or not (found := findings.versus(way, base)):
        return ""
    within = interval(found["low"], found["high"], findings.metric)
    difference = found["difference"]
    if not findings.is_better(way, base):
        apart = points(difference, findings.metric)
        return f", which is not shown to be better than {named(findings, base)} (difference {apart}, {within})"
    if findings.metric == "accuracy":
        return f", {points(difference, findings.metric)} more than {named(findings, base)} ({within})"
    return (
        f", against {figure(findings.mean(base), findings.metric)} of {named(findings, base)} "
        f"(better by {points(difference, findings.metric)}, {within})"
    )


def _rivals(findings: Findings, way: str) -> list[str]:
    """The best in mean, if it is another; else who is not shown to be worse."""
    others = [name for name in findings.judged if name != way]
    if not others:
        return ["It is the only way that was judged, so nothing is known of others."]
    if way != findings.best:
        return [_not_shown(findings, way)]
    if all(findings.is_better(way, other) for other in others):
        return ["It is shown to be better than every other way that was judged."]
    level = [named(findings, name) for name in findings.equals if name != way]
    return ["It has the best mean."] + [f"Not shown to be worse: {list_few(level)}."] * bool(level)


def _not_shown(findings: Findings, way: str) -> str:
    best = findings.best
    found = findings.versus(best, way)
    apart, within = points(found["difference"], findings.metric), interval(found["low"], found["high"], findings.metric)
    mean = figure(findings.mean(best), findings.metric)
    title = named(findings, best)
    return sentence(f"{title} has the best mean, {mean}, but is not shown to be better (difference {apart}, {within})")
