"""What could change the recommendation: what was not shown, not tried, or holds for these data only."""

from __future__ import annotations

from collections.abc import Iterator

from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.report.formatters import (
    MAX_LISTED,
    PERCENT_METRICS,
    format_bytes,
    format_metric,
    join_few,
    pluralize,
)
from softprompt.comparison.report.method_selection import STORAGE_FACTOR
from softprompt.comparison.report.report_view import ReportView
from softprompt.comparison.report.sentences import format_method_name, make_sentence

#: With fewer seeds than this, little is known about how much training runs differ.
MIN_SEEDS = 3

#: A worst seed this far below the mean is reported: an absolute gap for metrics in per cent, otherwise a relative one.
WORST_SEED_GAPS = 0.02, 0.05


def list_caveats(view: ReportView, method: str | None) -> list[str]:
    """Return what to check before relying on the recommendation, one or two sentences each."""
    checks = (
        _warn_better_mean,
        _warn_single_task,
        _suggest_cheaper,
        _suggest_fewer_tokens,
        _suggest_api,
        _warn_low_data,
        _warn_out_of_domain,
        _warn_worst_seed,
        _warn_rate_at_edge,
    )
    caveats = [caveat for check in checks for caveat in check(view, method)] if method is not None else []
    return [*caveats, *_warn_no_gain(view), *_warn_few_seeds(view), *_warn_overlap(view), *_list_failures(view)]


def _warn_better_mean(view: ReportView, method: str) -> Iterator[str]:
    num_examples = view.report.data.test.num_examples
    ahead = [
        name
        for name in view.tied_methods
        if view.to_gain(view.get_metric_mean(name) - view.get_metric_mean(method)) > 0
    ]
    if ahead:
        names = [
            f"{format_method_name(view, name)} with {format_metric(view.get_metric_mean(name), view.metric)}"
            for name in ahead
        ]
        yield (
            f"Better in the mean, but not shown to be better: {join_few(names)}. "
            f"A test set of more than {pluralize(num_examples, 'example')} could decide."
        )


def _warn_no_gain(view: ReportView) -> Iterator[str]:
    base = view.baseline_method
    trained = [name for name in view.scored_methods if _is_trained(view, name)]
    if base is None or not trained or any(_is_gain(view, name, base) for name in trained):
        return
    yield (
        f"No trained method is shown to be better than {format_method_name(view, base)}: do not train on these data. "
        "More examples or more steps could change that."
    )


def _is_gain(view: ReportView, name: str, base: str) -> bool:
    """Return whether a method is shown to be better, or repeats fewer tokens and is not shown to be worse."""
    if view.is_significantly_better(name, base):
        return True
    saves_tokens = _count_request_tokens(view, name) < _count_request_tokens(view, base)
    return saves_tokens and not view.is_significantly_better(base, name)


def _count_request_tokens(view: ReportView, name: str) -> int:
    return view.results[name].num_request_tokens or 0


def _warn_single_task(view: ReportView, method: str) -> Iterator[str]:
    best = view.best_method
    stored, best_stored = (view.results[name].stored_bytes_per_task for name in (method, best))
    if method == best or not stored or not best_stored or best_stored < stored * STORAGE_FACTOR / 2:
        return
    yield (
        f"With a single task it does not matter that {format_method_name(view, best)} stores "
        f"{format_bytes(best_stored)} and {format_method_name(view, method)} {format_bytes(stored)}: "
        "then the best mean may decide."
    )


def _suggest_cheaper(view: ReportView, method: str) -> Iterator[str]:
    """Name the best of the methods that store far less but are shown to be worse; the reader weighs the two."""
    stored = view.results[method].stored_bytes_per_task
    lighter = [
        name
        for name in view.scored_methods
        if view.is_significantly_better(method, name)
        and _is_trained(view, name)
        and (view.results[name].stored_bytes_per_task or stored) * STORAGE_FACTOR <= stored
    ]
    if lighter:
        best = max(lighter, key=lambda name: view.to_gain(view.get_metric_mean(name)))
        mean = format_metric(view.get_metric_mean(best), view.metric)
        yield (
            f"If {mean} is enough, {format_method_name(view, best)} stores "
            f"{format_bytes(view.results[best].stored_bytes_per_task)} for a task instead of {format_bytes(stored)}."
        )


def _suggest_fewer_tokens(view: ReportView, method: str) -> Iterator[str]:
    """Name the methods that repeat nothing in each request, if the recommended method does."""
    num_tokens = _count_request_tokens(view, method)
    lighter = [
        name
        for name in view.tied_methods
        if view.methods[name].kind is not MethodKind.API and view.results[name].num_request_tokens == 0
    ]
    if num_tokens and lighter:
        is_not = "is not" if len(lighter) == 1 else "are not"
        yield (
            f"Each request repeats {pluralize(num_tokens, 'token')} before its input: "
            f"{join_few([format_method_name(view, name) for name in lighter])} "
            f"{'repeats' if len(lighter) == 1 else 'repeat'} none, and {is_not} shown to be worse."
        )


def _suggest_api(view: ReportView, method: str) -> Iterator[str]:
    tied = [name for name in view.tied_methods if view.methods[name].kind is MethodKind.API and name != method]
    if tied:
        need, be = ("needs", "is") if len(tied) == 1 else ("need", "are")
        yield (
            "If texts may leave the machine and requests may cost money, "
            f"{join_few([format_method_name(view, name) for name in tied])} "
            f"{need} no training and {be} not shown to be worse."
        )


def _warn_low_data(view: ReportView, method: str) -> Iterator[str]:
    """Name the methods that are ahead with fewer examples but not with all of them: a sentence per train size."""
    means, metric = _get_size_means(view, method), view.metric
    ahead: dict[int, dict[str, float]] = {}
    for name in view.scored_methods:
        if name == method or view.to_gain(view.get_metric_mean(name) - view.get_metric_mean(method)) > 0:
            continue
        other_means = _get_size_means(view, name)
        crossed = [n for n in means if n in other_means and view.to_gain(other_means[n] - means[n]) > 0]
        if crossed:
            ahead.setdefault(max(crossed), {})[name] = other_means[max(crossed)]
    for n, by_method in sorted(ahead.items(), reverse=True):
        best = sorted(by_method, key=lambda name: -view.to_gain(by_method[name]))
        scores = f"{format_metric(by_method[best[0]], metric)} against {format_metric(means[n], metric)}"
        names = join_few([format_method_name(view, name) for name in best])
        are = f"is ahead in the mean ({scores})" if len(best) == 1 else f"are ahead in the mean (the first {scores})"
        yield f"With {pluralize(n, 'training example')}, {names} {are}."


def _get_size_means(view: ReportView, name: str) -> dict[int, float]:
    by_size = view.results[name].metrics_by_train_size.items()
    scores = {int(n): metrics[view.metric] for n, metrics in by_size if view.metric in metrics}
    return {n: score.mean for n, score in scores.items() if score.mean is not None}


def _warn_out_of_domain(view: ReportView, method: str) -> Iterator[str]:
    scores = {name: (view.results[name].out_of_domain_metrics or {}).get(view.metric) for name in view.tied_methods}
    means = {name: score.mean for name, score in scores.items() if score is not None and score.mean is not None}
    if method not in means:
        return
    best = max(means, key=lambda name: view.to_gain(means[name]))
    if view.to_gain(means[best] - means[method]) > 0:
        both = f"{format_metric(means[best], view.metric)} against {format_metric(means[method], view.metric)}"
        yield f"Outside the training domain {format_method_name(view, best)} is ahead in the mean ({both})."


def _warn_worst_seed(view: ReportView, method: str) -> Iterator[str]:
    mean, worst = view.get_metric_mean(method), view.get_score(method).worst
    if worst is None or len(view.get_score(method).values) < 2:
        return
    absolute, relative = WORST_SEED_GAPS
    if view.to_gain(mean - worst) > (absolute if view.metric in PERCENT_METRICS else relative * abs(mean)):
        scores = f"{format_metric(worst, view.metric)}, while the mean is {format_metric(mean, view.metric)}"
        yield f"Its worst seed is at {scores}: train several seeds, and keep the best one on the validation data."


def _warn_rate_at_edge(view: ReportView, method: str) -> Iterator[str]:
    search = view.results[method].learning_rates
    rates = [trial.learning_rate for trial in search.trials] if search else []
    if search and len(rates) >= 3 and search.best in (min(rates), max(rates)):
        edge, beyond = ("smallest", "smaller") if search.best == min(rates) else ("largest", "larger")
        yield f"Its learning rate, {search.best:g}, is the {edge} of those tried: a {beyond} one may be better."


def _warn_few_seeds(view: ReportView) -> Iterator[str]:
    if view.num_seeds < MIN_SEEDS and any(_is_trained(view, name) for name in view.scored_methods):
        yield (
            f"Each method was trained with only {pluralize(view.num_seeds, 'seed')}: "
            "three or more would show how much training runs differ."
        )


def _warn_overlap(view: ReportView) -> Iterator[str]:
    num_shared = view.report.data.overlap.get("training and test")
    if num_shared:
        yield (
            f"{pluralize(num_shared, 'text')} of the test set also occur in the training data: "
            "the metrics may favor trained methods."
        )


def _list_failures(view: ReportView) -> Iterator[str]:
    """Return a sentence per failed method, or one sentence for many methods that failed for the same reason."""
    by_reason: dict[str, list[str]] = {}
    for name in view.failed_methods:
        reason = " ".join((view.get_error(name) or "no metric was measured").split()).rstrip(".")
        by_reason.setdefault(reason, []).append(format_method_name(view, name))
    for reason, names in by_reason.items():
        if len(names) > MAX_LISTED:
            yield make_sentence(f"{join_few(names)} failed and were not scored: {reason}")
        else:
            yield from (make_sentence(f"{name} failed and was not scored: {reason}") for name in names)


def _is_trained(view: ReportView, name: str) -> bool:
    return view.methods[name].kind.is_trained
