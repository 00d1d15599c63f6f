"""From finished cells to the report: means over seeds, spreads, and which differences are shown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from softprompt.comparison.bench import Bench
from softprompt.comparison.bootstrap import Scores, compare_pairs
from softprompt.comparison.cells import Cell, Cells
from softprompt.comparison.way import Way

Found = Mapping[str, Any]
"""What a cell found."""


def summarised(
    way: Way, plan: Sequence[Cell], cells: Cells, bench: Bench, before: float | None, failure: str | None = None
) -> dict[str, Any]:
    """A way's entry in the report, without how it compares with the others.

    Args:
        way: the way.
        plan: its cells; of the seeds the first is finished.
        cells: what they found.
        bench: what it shares with the others.
        before: the bare base's loss on neutral text.
        failure: why cells that are not finished are not.
    """
    every = [(cell, cells.find(cell) or {"error": failure or "not run"}) for cell in plan]
    found = [(cell, each) for cell, each in every if "error" not in each or cell.purpose == "trial"]
    seeds = [each for cell, each in found if cell.purpose == "seed"]
    trials = [each for cell, each in found if cell.purpose == "trial"]
    first = seeds[0]
    courses = [each["course"] for each in seeds if each["course"]]
    return {
        "title": way.title,
        "kind": str(way.kind),
        **spread_of([each["metrics"] for each in seeds]),
        "trained_parameters": first["trained_parameters"],
        "trained_share": first["trained_parameters"] / bench.model.num_parameters,
        "bytes_per_task": first["stored_bytes"],
        "seconds": _mean([course["seconds"] for course in courses]),
        "search_seconds": _searching([each for _, each in found]),
        "useful_tokens_per_second": _mean([course["useful_tokens_per_second"] for course in courses]),
        "peak_memory_bytes": next(filter(None, (each.get("peak_memory_bytes") for each in (*trials, *seeds))), None),
        "serving": _serving(first.get("serving") or {}),
        "removable": first["removable"],
        "forgetting": _forgetting(before, first.get("neutral_loss")),
        "out_of_domain": spread_of([each["elsewhere"] for each in seeds]) if "elsewhere" in first else None,
        "learning_rate": _rates(trials, first["rate"]),
        "curve": [
            {"seed": cell.seed, **point} for cell, each in found if cell.purpose == "seed" for point in _curve(each)
        ],
        "sizes": _grouped(found, "size", lambda cell: str(cell.number)),
        "sweeps": _swept(found),
        "confusion": _summed([each["confusion"] for each in seeds]),
        "left_out": {cell.name: each["error"] for cell, each in every if "error" in each and cell.purpose != "trial"},
        "calls": priced(first["calls"], bench.settings.api_prices),
    }


def priced(calls: Mapping[str, Any] | None, prices: tuple[float, float] | None) -> dict[str, Any] | None:
    """Calls with what they cost in dollars, by prices per million tokens read and written; None without either."""
    if calls is None:
        return None
    counts = calls["prompt_tokens"], calls["completion_tokens"]
    if prices is None or None in counts:
        return {**calls, "dollars": None}
    return {**calls, "dollars": sum(count * price for count, price in zip(counts, prices, strict=True)) / 1e6}


def compared(scores: Mapping[str, Scores]) -> dict[str, dict[str, Any]]:
    """Of the ways' scores, `[S, N]` each, how every way compares with every other."""
    pairs = compare_pairs(scores)
    pairs |= {(other, one): each.turned for (one, other), each in pairs.items()}
    return {
        one: {
            other: {**vars(pairs[one, other]), "verdict": pairs[one, other].verdict} for other in scores if other != one
        }
        for one in scores
    }


def scores_of(plan: Sequence[Cell], cells: Cells) -> Float[ndarray, "S N"]:
    """The scores of a way's seeds on the test examples, one seed in memory as JSON at a time."""
    found = (cells.find(cell) or {} for cell in plan if cell.purpose == "seed")
    return np.array([np.asarray(each["scores"], dtype=float) for each in found if "scores" in each])


def first_metrics(plan: Sequence[Cell], cells: Cells) -> Mapping[str, float]:
    """What a way measured on the test examples at its first seed, the headline first."""
    found: Mapping[str, float] = next((cells.find(cell) or {})["metrics"] for cell in plan if cell.purpose == "seed")
    return found


def spread_of(metrics: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Of each figure its mean over the seeds, its standard deviation, the worst, and each."""
    return {name: _spread(name, [each[name] for each in metrics]) for name in metrics[0]}


def _spread(name: str, values: Sequence[float]) -> dict[str, Any]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    worst = max(values) if name in SMALLER_IS_BETTER else min(values)
    return {"mean": statistics.fmean(values), "spread": spread, "worst": worst, "seeds": list(values)}


SMALLER_IS_BETTER = ("loss", "perplexity")


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _searching(found: Sequence[Found]) -> float | None:
    """Seconds of all trainings together; seed 0 went on with what a trial trained."""
    trials = [each["seconds"] for each in found if each.get("seconds")]
    later = [each["course"]["seconds"] for each in found if each.get("course")]
    return sum(trials) + sum(later[1:]) if later else None


def _serving(served: Mapping[str, Any]) -> dict[str, Any] | None:
    return dict(served) if any(served.values()) else None


def _forgetting(before: float | None, after: float | None) -> dict[str, float] | None:
    return None if before is None or after is None else {"before": before, "after": after}


def _rates(trials: Sequence[Found], chosen: float | None) -> dict[str, Any] | None:
    if not trials:
        return None
    return {"chosen": chosen, "trials": [{"rate": each["rate"], **(each["metrics"] or {})} for each in trials]}


def _curve(found: Found) -> Sequence[Mapping[str, Any]]:
    curve: Sequence[Mapping[str, Any]] = found["course"].get("curve", [])
    return curve


def _grouped(found: Sequence[tuple[Cell, Found]], purpose: str, name: Any) -> dict[str, Any]:
    groups: dict[str, list[Mapping[str, float]]] = {}
    for cell, each in found:
        if cell.purpose == purpose:
            groups.setdefault(name(cell), []).append(each["metrics"])
    return {key: spread_of(metrics) for key, metrics in groups.items()}


def _swept(found: Sequence[tuple[Cell, Found]]) -> dict[str, Any]:
    options = dict.fromkeys(cell.option[0] for cell, _ in found if cell.option)
    return {
        option: _grouped(
            [(cell, each) for cell, each in found if cell.option and cell.option[0] == option],
            "sweep",
            lambda cell: cell.option[1],
        )
        for option in options
    }


def _summed(tables: Sequence[Sequence[Sequence[int]] | None]) -> list[list[int]] | None:
    known = [table for table in tables if table is not None]
    if not known:
        return None
    return [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*known, strict=True)]
