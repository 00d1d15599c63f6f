"""Which way to take: of those that are as good as the best, as far as was shown, the cheapest to live with."""

from __future__ import annotations

import math

from softprompt.comparison.report.findings import Findings

#: Differences in storage and speed below these factors decide nothing: they are smaller than what else may change.
STORAGE_FACTOR, SPEED_FACTOR = 10.0, 1.25


def choose(findings: Findings) -> str:
    """The way to recommend, of at least one that was judged."""
    return min(_candidates(findings), key=lambda name: _burden(findings, name))


def _candidates(findings: Findings) -> list[str]:
    """The best and its equals, less those that are shown to be worse than anything else.

    Where the best is shown to beat the hard prompt, nothing that is not shown to beat it is worth its training. The
    verdicts are tests of pairs, so one of the best's equals can still be the hard prompt's equal too.
    """
    equals, base = findings.equals, findings.baseline
    unbeaten = [name for name in equals if not any(findings.is_better(other, name) for other in findings.judged)]
    if base is None or not findings.is_better(findings.best, base):
        return unbeaten or equals
    return [name for name in unbeaten if findings.is_better(name, base)] or [findings.best]


def _burden(findings: Findings, name: str) -> tuple[int, int, bool, int, float]:
    """What living with a way costs; the first difference decides.

    Nothing to train and store comes before all; somebody else's model comes last, since each text leaves the machine
    and each call is paid for. Between them count what a task stores, whether many tasks share one copy of the model,
    how fast fifty of them are answered together, and then the quality.
    """
    way = findings.ways[name]
    nature = {"prompting": 0, "api": 2}.get(way["kind"], 1)
    stored = _step(way.get("bytes_per_task"), STORAGE_FACTOR) if nature else 0
    speed = _step(findings.rows_per_second(name, 50), SPEED_FACTOR)
    return nature, stored, not way.get("removable"), -speed, -findings.gain(findings.mean(name))


def _step(value: int | float | None, factor: float) -> int:
    """How many factors a quantity holds; about the same quantities are at the same step."""
    return round(math.log(value, factor)) if value else 0
