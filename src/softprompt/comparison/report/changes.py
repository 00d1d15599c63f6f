"""What would change the recommendation: what was not shown, not tried, or holds for these data only."""

from __future__ import annotations

from collections.abc import Iterator

from softprompt.comparison.report.choice import STORAGE_FACTOR
from softprompt.comparison.report.findings import Findings
from softprompt.comparison.report.quantities import FEW, SHARES, figure, list_few, many, size
from softprompt.comparison.report.sentences import named, sentence

#: Fewer trainings than this say little about how far the next one may fall.
FEW_SEEDS = 3

#: A worst seed this far below the mean is spoken of: in a share absolutely, otherwise relative to the mean.
FAR = 0.02, 0.05


def changes(findings: Findings, way: str | None) -> list[str]:
    """What to look at before relying on the recommendation, a sentence or two each."""
    kinds = (_not_shown, _one_task, _cheaper, _api, _low_data, _elsewhere, _worst_seed, _rate_at_edge)
    of_the_way = [words for kind in kinds for words in kind(findings, way)] if way is not None else []
    return [*of_the_way, *_no_gain(findings), *_few_seeds(findings), *_overlap(findings), *_failed(findings)]


def _not_shown(findings: Findings, way: str) -> Iterator[str]:
    rows = findings.report["data"]["test"]["examples"]
    ahead = [name for name in findings.equals if findings.gain(findings.mean(name) - findings.mean(way)) > 0]
    if ahead:
        each = [f"{named(findings, name)} with {figure(findings.mean(name), findings.metric)}" for name in ahead]
        yield (
            f"Better in mean, but not shown to be better: {list_few(each)}. "
            f"A larger test set than {many(rows, 'example')} could decide."
        )


def _no_gain(findings: Findings) -> Iterator[str]:
    base = findings.baseline
    trained = [name for name in findings.judged if findings.ways[name]["kind"] in ("soft prompt", "weights")]
    if base is None or not trained or any(findings.is_better(name, base) for name in trained):
        return
    yield (
        f"Nothing that was trained is shown to be better than {named(findings, base)}: do not train on these data. "
        "More examples or more steps could change that."
    )


def _one_task(findings: Findings, way: str) -> Iterator[str]:
    best = findings.best
    mine, its = (findings.ways[name].get("bytes_per_task") for name in (way, best))
    if way == best or not mine or not its or its < mine * STORAGE_FACTOR / 2:
        return
    yield (
        f"With one task only, it does not matter that {named(findings, best)} stores {size(its)} "
        f"where {named(findings, way)} stores {size(mine)}: then the best mean may decide."
    )


def _cheaper(findings: Findings, way: str) -> Iterator[str]:
    """The best of those that store far less and are shown to be worse: how much worse is for the reader to weigh."""
    mine = findings.ways[way].get("bytes_per_task") or 0
    lighter = [
        name
        for name in findings.judged
        if findings.is_better(way, name)
        and findings.ways[name]["kind"] in ("soft prompt", "weights")
        and (findings.ways[name].get("bytes_per_task") or mine) * STORAGE_FACTOR <= mine
    ]
    if lighter:
        best = max(lighter, key=lambda name: findings.gain(findings.mean(name)))
        stored, enough = size(findings.ways[best]["bytes_per_task"]), figure(findings.mean(best), findings.metric)
        yield f"If {enough} is enough, {named(findings, best)} stores {stored} for a task in place of {size(mine)}."


def _api(findings: Findings, way: str) -> Iterator[str]:
    level = [name for name in findings.equals if findings.ways[name]["kind"] == "api" and name != way]
    if level:
        need, be = ("needs", "is") if len(level) == 1 else ("need", "are")
        yield (
            f"If texts may leave the machine and calls may cost, {list_few([named(findings, name) for name in level])} "
            f"{need} no training and {be} not shown to be worse."
        )


def _low_data(findings: Findings, way: str) -> Iterator[str]:
    """Where other ways are ahead with fewer examples, though they are not with all of them: a sentence a size."""
    mine, metric = _sizes(findings, way), findings.metric
    ahead: dict[int, dict[str, float]] = {}
    for name in findings.judged:
        if name == way or findings.gain(findings.mean(name) - findings.mean(way)) > 0:
            continue
        its = _sizes(findings, name)
        crossed = [n for n in mine if n in its and findings.gain(its[n] - mine[n]) > 0]
        if crossed:
            ahead.setdefault(max(crossed), {})[name] = its[max(crossed)]
    for n, means in sorted(ahead.items(), reverse=True):
        best = sorted(means, key=lambda name: -findings.gain(means[name]))
        apart = f"{figure(means[best[0]], metric)} against {figure(mine[n], metric)}"
        words = list_few([named(findings, name) for name in best])
        are = f"is ahead in mean ({apart})" if len(best) == 1 else f"are ahead in mean (the first {apart})"
        yield f"With {many(n, 'example')} to train on, {words} {are}."


def _sizes(findings: Findings, name: str) -> dict[int, float]:
    found = (findings.ways[name].get("sizes") or {}).items()
    means = {int(n): (figures.get(findings.metric) or {}).get("mean") for n, figures in found}
    return {n: mean for n, mean in means.items() if mean is not None}


def _elsewhere(findings: Findings, way: str) -> Iterator[str]:
    means = {
        name: found["mean"]
        for name in findings.equals
        if (found := (findings.ways[name].get("out_of_domain") or {}).get(findings.metric))
        and found.get("mean") is not None
    }
    if way not in means:
        return
    best = max(means, key=lambda name: findings.gain(means[name]))
    if findings.gain(means[best] - means[way]) > 0:
        ahead = f"{figure(means[best], findings.metric)} against {figure(means[way], findings.metric)}"
        yield f"Outside of the training's domain {named(findings, best)} is ahead in mean ({ahead})."


def _worst_seed(findings: Findings, way: str) -> Iterator[str]:
    mean, worst = findings.mean(way), findings.score(way).get("worst")
    if worst is None or len(findings.score(way).get("seeds") or []) < 2:
        return
    absolute, relative = FAR
    if findings.gain(mean - worst) > (absolute if findings.metric in SHARES else relative * abs(mean)):
        away = f"{figure(worst, findings.metric)} where the mean is {figure(mean, findings.metric)}"
        yield f"Its worst seed is at {away}: train several, and keep the one that is best on the validation data."


def _rate_at_edge(findings: Findings, way: str) -> Iterator[str]:
    found = findings.ways[way].get("learning_rate") or {}
    rates = [trial["rate"] for trial in found.get("trials") or []]
    if len(rates) >= 3 and found.get("chosen") in (min(rates), max(rates)):
        edge = "smallest" if found["chosen"] == min(rates) else "largest"
        yield f"Its learning rate, {found['chosen']:g}, is the {edge} of those tried: one beyond it may be better."


def _few_seeds(findings: Findings) -> Iterator[str]:
    if findings.seeds < FEW_SEEDS and any(
        findings.ways[n]["kind"] in ("soft prompt", "weights") for n in findings.judged
    ):
        yield (
            f"Each way was trained with {many(findings.seeds, 'seed')} only: "
            "three or more would show how far one training falls from another."
        )


def _overlap(findings: Findings) -> Iterator[str]:
    shared = (findings.report["data"].get("overlap") or {}).get("training and test")
    if shared:
        yield (
            f"Of the test set {many(shared, 'text')} also stand in the training data: "
            "the figures may flatter what trains."
        )


def _failed(findings: Findings) -> Iterator[str]:
    """A sentence for each way, and for all that had the same problem where they are many."""
    by_problem: dict[str, list[str]] = {}
    for name in findings.failed:
        problem = " ".join(str(findings.ways[name].get("error", "no figure was measured")).split()).rstrip(".")
        by_problem.setdefault(problem, []).append(named(findings, name))
    for problem, names in by_problem.items():
        if len(names) > FEW:
            yield sentence(f"{list_few(names)} failed and were not judged: {problem}")
        else:
            yield from (sentence(f"{name} failed and was not judged: {problem}") for name in names)
