"""The loss curve of a run, for people who look rather than read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from softprompt.errors import disk_errors
from softprompt.saved.folders import write_file
from softprompt.training.run_folder import RunFolder


def draw_curve(folder: RunFolder, title: str, hard_prompt: Mapping[str, float] | None = None) -> None:
    """Draw training loss, its trend, and the validation's headline figure as `loss.png`; the best step is marked.

    A dashed line is the headline figure of the hard prompt, where it is given.
    """
    from matplotlib.figure import Figure  # a second to import: only where it is used

    lines = folder.lines()
    steps = [line for line in lines if "loss" in line]
    evaluations = [line for line in lines if "validation" in line]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        [s["step"] for s in steps], [s["loss"] for s in steps], color="#9ecae1", linewidth=1, label="loss of a step"
    )
    axes.plot([s["step"] for s in steps], _trend([s["loss"] for s in steps]), color="#08519c", label="its trend")
    axes.set(xlabel="step", ylabel="training loss", title=title, ylim=(0, None))
    if evaluations:
        _draw_evaluations(axes.twinx(), evaluations, hard_prompt)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    with disk_errors(folder.picture):
        write_file(folder.picture, picture.getvalue())


def _draw_evaluations(axes: Any, evaluations: list[dict[str, Any]], hard_prompt: Mapping[str, float] | None) -> None:
    headline = next(iter(evaluations[0]["validation"]))
    at, values = [e["step"] for e in evaluations], [e["validation"][headline] for e in evaluations]
    axes.plot(at, values, "o-", color="#e6550d", label=f"validation {headline}")
    if hard_prompt is not None and headline in hard_prompt:
        axes.axhline(hard_prompt[headline], color="#e6550d", linestyle="--", linewidth=1, label="hard prompt")
    for best in [i for i, e in enumerate(evaluations) if e["best"]][-1:]:
        text, place = f"best: {values[best]:.3f}", (at[best], values[best])
        axes.annotate(text, place, textcoords="offset points", xytext=(0, 8), ha="right")
    axes.set_ylabel(f"validation {headline}")
    axes.margins(y=0.2)


def _trend(values: list[float], memory: float = 0.9) -> list[float]:
    """The exponential moving average, corrected for its beginning."""
    smooth, trend = 0.0, []
    for n, value in enumerate(values, start=1):
        smooth = memory * smooth + (1 - memory) * value
        trend.append(smooth / (1 - memory**n))
    return trend
