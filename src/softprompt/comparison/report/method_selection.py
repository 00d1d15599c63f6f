"""Selects the method to recommend: of the methods that are not shown to be worse than the best, the cheapest to run."""

from __future__ import annotations

import math

from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.report.report_view import ReportView

#: Differences in storage and speed below these factors are ignored: other influences are larger.
STORAGE_FACTOR, SPEED_FACTOR = 10.0, 1.25


def select_method(view: ReportView) -> str:
    """Return the name of the method to recommend. At least one method must have been scored."""
    return min(_list_candidates(view), key=lambda name: _compute_cost_key(view, name))


def _list_candidates(view: ReportView) -> list[str]:
    """Return the best method and its ties, without those that are shown to be worse than any other method.

    If the best method is shown to beat the baseline, only methods shown to beat the baseline are worth their training.
    The verdicts are tests of pairs, so a method can be tied both with the best one and with the baseline.
    """
    tied, base = view.tied_methods, view.baseline_method
    unbeaten = [
        name for name in tied if not any(view.is_significantly_better(other, name) for other in view.scored_methods)
    ]
    if base is None or not view.is_significantly_better(view.best_method, base):
        return unbeaten or tied
    return [name for name in unbeaten if view.is_significantly_better(name, base)] or [view.best_method]


def _compute_cost_key(view: ReportView, name: str) -> tuple[int, int, bool, int, float]:
    """Return the cost of running a method as a sort key; the first difference decides.

    Prompting comes first, because nothing is trained or stored. An API comes last, because every text leaves the
    machine and every request is paid for. In between, the key orders by the bytes stored for a task, by whether many
    tasks share one copy of the model, by the throughput with fifty tasks, and then by quality.
    """
    result = view.results[name]
    kind_rank = {MethodKind.PROMPTING: 0, MethodKind.API: 2}.get(result.kind, 1)
    storage = _to_log_step(result.stored_bytes_per_task, STORAGE_FACTOR) if kind_rank else 0
    speed = _to_log_step(view.get_requests_per_second(name, 50), SPEED_FACTOR)
    return kind_rank, storage, not result.shares_base_weights, -speed, -view.to_gain(view.get_metric_mean(name))


def _to_log_step(value: int | float | None, factor: float) -> int:
    """Return a quantity as a rounded power of `factor`, so that similar quantities compare as equal."""
    return round(math.log(value, factor)) if value else 0
