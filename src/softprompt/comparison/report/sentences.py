"""What the sentences of a report share: a way's name in them, how good it is, and how a sentence begins and ends."""

from __future__ import annotations

from softprompt.comparison.report.findings import Findings
from softprompt.comparison.report.quantities import capitalise, figure, metric_name


def sentence(words: str) -> str:
    """Words with a capital and a full stop."""
    return capitalise(words) + "."


def named(findings: Findings, name: str) -> str:
    """A way within a sentence: the hard prompt takes an article, and what follows a comma goes into brackets."""
    title, comma, rest = findings.title(name).partition(", ")
    within = f"{title} ({rest})" if comma else title
    return f"the {within}" if name == "hard" else within


def quality(findings: Findings, name: str) -> str:
    """How good a way is, behind "it"."""
    metric, score = findings.metric, findings.score(name)
    mean = figure(score["mean"], metric)
    worst = f" (worst seed {figure(score['worst'], metric)})" if len(score.get("seeds") or []) > 1 else ""
    if metric == "accuracy":
        return f"is right on {mean} of the test set{worst}"
    return (
        f"has {'an' if metric in ('f1', 'exact_match') else 'a'} {metric_name(metric)} of {mean} on the test set{worst}"
    )
