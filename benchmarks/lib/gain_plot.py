"""Plot of the gain of joint training over the number of prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure


def plot_gain(curves: Mapping[str, Mapping[int, float]], title: str, path: Path) -> None:
    """Plot a line for each curve, in the format of the path's extension."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        axes.plot([*curve], [*curve.values()], "o-", label=name)
    counts = sorted({N for curve in curves.values() for N in curve})
    axes.axhline(1, color="grey", linewidth=1, linestyle="--", label="one after the other")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(N) for N in counts])
    axes.set(xlabel="prompts together", ylabel="times as fast as one after the other", title=title)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
