"""Baselines of a run: its untrained prompt and the hard prompt, with warnings if training did not improve on them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from softprompt.tasks import Objective
from softprompt.training.checkpoint import BestCheckpoint

logger = logging.getLogger(__name__)

#: Relative increase of the loss from which a prompt counts as worse.
LOSS_MARGIN = 0.01

MetricValues = Mapping[str, float]


@dataclass(frozen=True)
class BaselineMetrics:
    """Validation metrics without training; None if they were not measured.

    Attributes:
        untrained_prompt: Metrics of the prompt before its first step.
        hard_prompt: Metrics of the template alone, without virtual tokens.
    """

    untrained_prompt: MetricValues | None = None
    hard_prompt: MetricValues | None = None


def warn_if_not_better(
    run_name: str,
    best: BestCheckpoint | None,
    baselines: BaselineMetrics,
    objective: Objective,
    peak_learning_rate: float,
) -> None:
    """Warn if the best prompt is worse than the untrained prompt, or no better than the hard prompt.

    Args:
        run_name: Name of the run in the warning.
        best: Best evaluation, whose prompt was kept; None without evaluations.
        baselines: Metrics to compare with.
        objective: Objective, which defines the selection key.
        peak_learning_rate: Learning rate at the end of the warm-up.
    """
    if best is None:
        return
    subject = f"{run_name}: the prompt of step {best.step} ({_format_metrics(best.metrics)}) is"
    if baselines.untrained_prompt and _is_worse(best.metrics, baselines.untrained_prompt, objective):
        logger.warning(
            "%s worse on the validation examples than the untrained prompt (%s): training made it worse. "
            "Try `learning_rate=%.2g`",
            subject,
            _format_metrics(baselines.untrained_prompt),
            peak_learning_rate / 4,
        )
    if baselines.hard_prompt and _is_no_better(best.metrics, baselines.hard_prompt, objective):
        logger.warning(
            "%s no better on the validation examples than the template without virtual tokens (%s): try more steps or "
            "examples, or use the template alone",
            subject,
            _format_metrics(baselines.hard_prompt),
        )


def _is_worse(metrics: MetricValues, other: MetricValues, objective: Objective) -> bool:
    """Return whether the headline metric or the loss is worse: a loss can double at the same accuracy."""
    return objective.selection_key(metrics)[0] < objective.selection_key(other)[0] or metrics["loss"] > other[
        "loss"
    ] * (1 + LOSS_MARGIN)


def _is_no_better(metrics: MetricValues, other: MetricValues, objective: Objective) -> bool:
    return objective.selection_key(metrics) <= objective.selection_key(other)


def _format_metrics(metrics: MetricValues) -> str:
    headline = next(iter(metrics))
    return ", ".join(f"{name.replace('_', ' ')} {metrics[name]:.3g}" for name in dict.fromkeys((headline, "loss")))
