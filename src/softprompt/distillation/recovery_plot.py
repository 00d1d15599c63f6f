"""Picture of a distillation: what each alternative recovers of the whole text, and how many tokens it takes."""

from __future__ import annotations

import io
from pathlib import Path

from softprompt.atomic import atomic_write_file
from softprompt.distillation.distill_report import DistillReport
from softprompt.distillation.report_builder import DISTILLED
from softprompt.errors import translate_os_errors


def plot_recovery(report: DistillReport, file: Path) -> None:
    """Plot the recovery of each row against the tokens that each request repeats, as PNG.

    Args:
        report: Report whose rows have a recovery.
        file: File to write.

    Raises:
        DiskFull: The disk is full.
    """
    from matplotlib.figure import Figure  # imported here, since it takes a second

    rows = [row for row in report.rows if "recovery" in row.metrics]
    figure = Figure(figsize=(8, 0.6 * len(rows) + 1.6), layout="constrained")
    axes = figure.add_subplot()
    values = [row.metrics["recovery"] for row in rows]
    colors = ["#e6550d" if row.name == DISTILLED else "#9ecae1" for row in rows]
    bars = axes.barh([row.name for row in rows], [max(value, 0.0) for value in values], color=colors)
    labels = [
        f"{value:.2f}   {row.num_request_tokens} tokens a request" for value, row in zip(values, rows, strict=True)
    ]
    axes.bar_label(bars, labels, padding=4)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.6 * max(1.0, *values))
    axes.set_xlabel("recovery: 0 is the model without a prompt, 1 the model behind the whole text")
    tokens = f"{report.source['num_tokens']} tokens to {report.num_virtual_tokens} virtual tokens"
    axes.set_title(f"{report.source['path']} on {report.model}: {tokens}")
    axes.spines[["top", "right"]].set_visible(False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    with translate_os_errors(file):
        atomic_write_file(file, image.getvalue())
