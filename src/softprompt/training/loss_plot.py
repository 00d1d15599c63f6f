"""Plot of a run's loss."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from softprompt.atomic import atomic_write_file
from softprompt.errors import translate_os_errors
from softprompt.training.run_folder import RunFolder


def plot_loss(run_folder: RunFolder, title: str, hard_prompt: Mapping[str, float] | None = None) -> None:
    """Plot the training loss, its moving average, and the headline validation metric with its best step to `loss.png`.

    Args:
        run_folder: Folder of the run, with its log.
        title: Title of the plot.
        hard_prompt: Validation metrics of the hard prompt, whose headline metric is a dashed line.
    """
    from matplotlib.figure import Figure  # imported here, since it takes a second

    lines = run_folder.read_log()
    steps = [line for line in lines if "loss" in line]
    evaluations = [line for line in lines if "validation" in line]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([s["step"] for s in steps], [s["loss"] for s in steps], color="#9ecae1", linewidth=1, label="loss")
    axes.plot(
        [s["step"] for s in steps],
        _smooth_values([s["loss"] for s in steps]),
        color="#08519c",
        label="loss, moving average",
    )
    axes.set(xlabel="step", ylabel="training loss", title=title, ylim=(0, None))
    if evaluations:
        _plot_evaluations(axes.twinx(), evaluations, hard_prompt)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    with translate_os_errors(run_folder.loss_plot_file):
        atomic_write_file(run_folder.loss_plot_file, image.getvalue())


def _plot_evaluations(axes: Any, evaluations: list[dict[str, Any]], hard_prompt: Mapping[str, float] | None) -> None:
    headline = next(iter(evaluations[0]["validation"]))
    eval_steps, values = [e["step"] for e in evaluations], [e["validation"][headline] for e in evaluations]
    axes.plot(eval_steps, values, "o-", color="#e6550d", label=f"validation {headline}")
    if hard_prompt is not None and headline in hard_prompt:
        axes.axhline(hard_prompt[headline], color="#e6550d", linestyle="--", linewidth=1, label="hard prompt")
    for best in [i for i, e in enumerate(evaluations) if e["best"]][-1:]:
        text, point = f"best: {values[best]:.3f}", (eval_steps[best], values[best])
        axes.annotate(text, point, textcoords="offset points", xytext=(0, 8), ha="right")
    axes.set_ylabel(f"validation {headline}")
    axes.margins(y=0.2)


def _smooth_values(values: list[float], decay: float = 0.9) -> list[float]:
    """Return the exponential moving average, with bias correction."""
    average, averages = 0.0, []
    for n, value in enumerate(values, start=1):
        average = decay * average + (1 - decay) * value
        averages.append(average / (1 - decay**n))
    return averages
