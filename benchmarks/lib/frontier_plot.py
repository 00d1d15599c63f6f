"""Plot of the recovery of distilled prefixes and their alternatives over the number of virtual tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from softprompt.distillation.alternatives import CUT_TEXT, SUMMARY
from softprompt.distillation.report_builder import DISTILLED, INITIAL_PREFIX


def plot_recovery_frontier(runs: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Plot the mean recovery of each method over the number of virtual tokens, in the format of the path's extension.

    Args:
        runs: runs with `init`, `best_step` and `report`.
        title: title of the figure.
        path: file to write.
    """
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for row in run["report"]["rows"]:
            if (name := _name_curve(row["name"], run)) is not None:
                values[name][run["report"]["num_virtual_tokens"]].append(row["metrics"]["recovery"])
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, by_count in values.items():
        counts = sorted(by_count)
        axes.plot(counts, [mean(by_count[count]) for count in counts], "o-", label=name)
    axes.axhline(1, color="grey", linewidth=1, linestyle="--", label="whole text")
    axes.set_xscale("log", base=2)
    counts = sorted({count for by_count in values.values() for count in by_count})
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set(xlabel="virtual tokens", ylabel="recovery", title=title)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _name_curve(row: str, run: Mapping[str, Any]) -> str | None:
    """Return the name of the curve that a row of a report belongs to; None for rows that are no curve."""
    if row in (CUT_TEXT, SUMMARY):
        return row
    if row == INITIAL_PREFIX:
        return f"{run['init']}, untrained"
    return f"{run['init']}, trained" if row == DISTILLED and run["best_step"] else None
