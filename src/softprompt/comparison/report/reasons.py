"""The reasons for the recommended way: quality, storage, serving, forgetting and training, each beside the others'."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softprompt.comparison.report.findings import Findings
from softprompt.comparison.report.quantities import (
    Number,
    count,
    duration,
    figure,
    list_few,
    many,
    number,
    rate,
    size,
    spread,
)
from softprompt.comparison.report.sentences import named, sentence

#: How many others a reason is compared with: beyond that it is a table, and the page has one.
MOST = 3


def reasons(findings: Findings, way: str) -> list[str]:
    """Why to take a way, a sentence or two each; what was not measured is not spoken of."""
    kinds = (_quality, _never_answered, _verdicts, _storing, _serving, _forgetting, _training, _calls)
    return [words for kind in kinds if (words := kind(findings, way))]


def _quality(findings: Findings, way: str) -> str:
    score, metric = findings.score(way), findings.metric
    seeds = len(score.get("seeds") or [])
    words = f"Quality: {figure(score['mean'], metric)} in the mean"
    if seeds > 1 and score.get("spread") is not None:
        words += f" of {seeds} seeds, spread {spread(score['spread'], metric)}, worst {figure(score['worst'], metric)}"
    elsewhere = ((findings.ways[way].get("out_of_domain") or {}).get(metric) or {}).get("mean")
    beyond = "" if elsewhere is None else f"; {figure(elsewhere, metric)} outside of the training's domain"
    return words + beyond + "."


def _never_answered(findings: Findings, way: str) -> str:
    """Which labels of the test set a way does not answer at all."""
    table, labels = findings.ways[way].get("confusion"), findings.report["task"]["labels"]
    if not table:
        return ""
    missed = [labels[i] for i, row in enumerate(table) if sum(row) and not sum(each[i] for each in table)]
    return f"It never answers {list_few(missed)}, which the test set has." if missed else ""


def _verdicts(findings: Findings, way: str) -> str:
    """Against whom the test shows something, and against whom not."""
    others = [name for name in findings.judged if name != way]
    beaten = [named(findings, name) for name in others if findings.is_better(way, name)]
    level = [named(findings, name) for name in others if name in findings.equals and not findings.is_better(way, name)]
    parts = [f"shown to be better than {list_few(beaten)}"] * bool(beaten)
    parts += [f"no difference shown from {list_few(level)}"] * bool(level)
    return sentence("; ".join(parts)) if parts else ""


def _storing(findings: Findings, way: str) -> str:
    stored = findings.ways[way].get("bytes_per_task")
    if stored is None:
        return ""
    others = _others(findings, way, lambda name: findings.ways[name].get("bytes_per_task") or None, size)
    if not stored:
        return f"Storing: nothing has to be trained or kept for a task{_beside(others)}."
    return f"Storing: {size(stored)} for a task, {size(50 * stored)} for fifty{_beside(others)}."


def _serving(findings: Findings, way: str) -> str:
    one, fifty = (findings.rows_per_second(way, tasks) for tasks in (1, 50))
    if fifty is None:
        return ""
    alone = "" if one is None else f", and {rate(one)} with one"
    others = _others(findings, way, lambda name: findings.rows_per_second(name, 50), rate)
    return f"Serving: {rate(fifty)} rows a second with fifty tasks at once{alone}{_beside(others, 'with fifty')}."


def _forgetting(findings: Findings, way: str) -> str:
    found, removable = findings.ways[way].get("forgetting"), findings.ways[way].get("removable")
    parts = []
    if found and found.get("before") is not None and found.get("after") is not None:
        before, after = number(found["before"]), number(found["after"])
        moved = f"goes from {before} to {after}" if before != after else f"stays at {before}"
        parts.append(f"Forgetting: the loss per token of neutral text {moved} through the adapted model.")
    if removable:
        parts.append("Other texts can be answered by the untouched base from the same copy of the weights.")
    elif removable is False:
        parts.append("The untouched base needs a copy of the weights of its own.")
    return " ".join(parts)


def _training(findings: Findings, way: str) -> str:
    facts = findings.ways[way]
    seconds, search = facts.get("seconds"), facts.get("search_seconds")
    if not seconds:
        return ""
    tried = "" if not search or search <= seconds else f", {duration(search)} with all that was tried"
    others = _others(findings, way, lambda name: findings.ways[name].get("seconds") or None, duration)
    return f"Training: {duration(seconds)} a run{tried}{_beside(others)}."


def _calls(findings: Findings, way: str) -> str:
    calls = findings.ways[way].get("calls")
    if not calls:
        return ""
    paid = "" if calls.get("dollars") is None else f", ${calls['dollars']:,.3f}"
    unread = calls.get("unreadable") or 0
    lost = f"; {many(unread, 'answer')} could not be read" if unread else ""
    return f"Calls: {count(calls.get('requests'))} requests{paid}{lost}. Each text leaves this machine."


def _others(
    findings: Findings, way: str, measure: Callable[[str], Number | None], write: Callable[[Number], str]
) -> list[str]:
    """The same quantity of those that are as good, as far as was shown."""
    found = [(named(findings, name), measure(name)) for name in findings.equals if name != way]
    return [f"{title}: {write(value)}" for title, value in found if value is not None][:MOST]


def _beside(others: Sequence[str], what: str = "") -> str:
    return f" ({what + ', ' if what else ''}{'; '.join(others)})" if others else ""
