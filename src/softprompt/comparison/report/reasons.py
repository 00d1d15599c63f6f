"""The reasons for the recommended method: quality, storage, serving, forgetting and training, compared with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softprompt.comparison.report.formatters import (
    Number,
    format_bytes,
    format_count,
    format_duration,
    format_metric,
    format_number,
    format_rate,
    format_spread,
    join_few,
    pluralize,
)
from softprompt.comparison.report.report_view import ReportView
from softprompt.comparison.report.sentences import format_method_name, make_sentence

#: Number of other methods that a reason compares with. The page has a table of all of them.
MAX_COMPARED = 3


def list_reasons(view: ReportView, method: str) -> list[str]:
    """Return the reasons for a method, one or two sentences each. Quantities that were not measured are left out."""
    describers = (
        _describe_quality,
        _describe_missing_labels,
        _describe_verdicts,
        _describe_storage,
        _describe_request_tokens,
        _describe_serving,
        _describe_forgetting,
        _describe_training,
        _describe_api_usage,
    )
    return [reason for describe in describers if (reason := describe(view, method))]


def _describe_quality(view: ReportView, method: str) -> str:
    score, metric = view.get_score(method), view.metric
    num_seeds = len(score.values)
    text = f"Quality: {format_metric(score.mean, metric)} in the mean"
    if num_seeds > 1 and score.std is not None:
        deviation, worst = format_spread(score.std, metric), format_metric(score.worst, metric)
        text += f" of {num_seeds} seeds, standard deviation {deviation}, worst {worst}"
    outside = (view.results[method].out_of_domain_metrics or {}).get(metric)
    mean = outside.mean if outside else None
    out_of_domain = "" if mean is None else f"; {format_metric(mean, metric)} outside the training domain"
    return text + out_of_domain + "."


def _describe_missing_labels(view: ReportView, method: str) -> str:
    """Name the labels of the test set that a method never predicts."""
    matrix, labels = view.results[method].confusion_matrix, view.report.task.labels
    if not matrix:
        return ""
    missed = [labels[i] for i, row in enumerate(matrix) if sum(row) and not sum(row[i] for row in matrix)]
    return f"It never answers {join_few(missed)}, which the test set has." if missed else ""


def _describe_verdicts(view: ReportView, method: str) -> str:
    """Name the methods that the test shows to be worse, and those for which no difference is shown."""
    others = [name for name in view.scored_methods if name != method]
    beaten = [format_method_name(view, name) for name in others if view.is_significantly_better(method, name)]
    tied = [
        format_method_name(view, name)
        for name in others
        if name in view.tied_methods and not view.is_significantly_better(method, name)
    ]
    parts = [f"shown to be better than {join_few(beaten)}"] if beaten else []
    parts += [f"no difference shown from {join_few(tied)}"] if tied else []
    return make_sentence("; ".join(parts)) if parts else ""


def _describe_storage(view: ReportView, method: str) -> str:
    stored = view.results[method].stored_bytes_per_task
    others = _list_others(view, method, lambda name: view.results[name].stored_bytes_per_task or None, format_bytes)
    if not stored:
        return f"Storage: nothing has to be trained or stored for a task{_format_comparison(others)}."
    one, fifty = format_bytes(stored), format_bytes(50 * stored)
    return f"Storage: {one} for a task, {fifty} for fifty{_format_comparison(others)}."


def _describe_request_tokens(view: ReportView, method: str) -> str:
    count = view.results[method].num_request_tokens
    if not view.repeats_tokens or count is None:
        return ""
    others = _list_others(view, method, lambda name: view.results[name].num_request_tokens, format_count)
    return f"Requests: {pluralize(count, 'token')} before each input{_format_comparison(others)}."


def _describe_serving(view: ReportView, method: str) -> str:
    one, fifty = (view.get_requests_per_second(method, num_tasks) for num_tasks in (1, 50))
    if fifty is None:
        return ""
    alone = "" if one is None else f", and {format_rate(one)} with one"
    others = _list_others(view, method, lambda name: view.get_requests_per_second(name, 50), format_rate)
    comparison = _format_comparison(others, "with fifty")
    return f"Serving: {format_rate(fifty)} requests per second with fifty tasks at once{alone}{comparison}."


def _describe_forgetting(view: ReportView, method: str) -> str:
    forgetting, parts = view.results[method].forgetting, []
    if forgetting and forgetting.loss_before is not None and forgetting.loss_after is not None:
        before, after = format_number(forgetting.loss_before), format_number(forgetting.loss_after)
        change = f"goes from {before} to {after}" if before != after else f"stays at {before}"
        parts.append(f"Forgetting: the loss per token on the reference text {change} with the adapted model.")
    if view.results[method].shares_base_weights:
        parts.append("The unchanged base model can answer other texts from the same copy of the weights.")
    else:
        parts.append("The unchanged base model needs a second copy of the weights.")
    return " ".join(parts)


def _describe_training(view: ReportView, method: str) -> str:
    seconds, search_seconds = view.results[method].train_seconds, view.results[method].search_seconds
    if not seconds:
        return ""
    total = (
        "" if not search_seconds or search_seconds <= seconds else f", {format_duration(search_seconds)} with all runs"
    )
    others = _list_others(view, method, lambda name: view.results[name].train_seconds or None, format_duration)
    return f"Training: {format_duration(seconds)} per run{total}{_format_comparison(others)}."


def _describe_api_usage(view: ReportView, method: str) -> str:
    usage = view.results[method].api_usage
    if usage is None:
        return ""
    cost = "" if usage.cost_usd is None else f", ${usage.cost_usd:,.3f}"
    unreadable = pluralize(usage.num_unreadable, "reply", "replies")
    problem = f"; {unreadable} could not be read" if usage.num_unreadable else ""
    return f"API: {format_count(usage.num_requests)} requests{cost}{problem}. Every text leaves this machine."


def _list_others(
    view: ReportView, method: str, get_value: Callable[[str], Number | None], format_value: Callable[[Number], str]
) -> list[str]:
    """Return the same quantity of the methods that are tied with the best one."""
    values = [(format_method_name(view, name), get_value(name)) for name in view.tied_methods if name != method]
    return [f"{title}: {format_value(value)}" for title, value in values if value is not None][:MAX_COMPARED]


def _format_comparison(others: Sequence[str], qualifier: str = "") -> str:
    return f" ({qualifier + ', ' if qualifier else ''}{'; '.join(others)})" if others else ""
