"""Whether training was worth it: what was kept of a run beside its untrained start and beside the hard prompt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from softprompt.tasks import Objective
from softprompt.training.checkpoint import Best

logger = logging.getLogger(__name__)

#: How much larger a loss must be, as a share of the other, to be called worse.
MARGIN = 0.01

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Baselines:
    """What the validation examples measure without any training; None where it was not measured.

    Attributes:
        start: the prompt as it was before its first step.
        hard_prompt: the template alone, without virtual tokens.
    """

    start: Metrics | None = None
    hard_prompt: Metrics | None = None


def warn_if_not_better(name: str, best: Best | None, baselines: Baselines, objective: Objective, peak: float) -> None:
    """Say it where the kept prompt is worse than its untrained start, or no better than the hard prompt.

    Args:
        name: what the run is called in the warning.
        best: what was kept, and what it measured.
        baselines: what it is compared with.
        objective: what says which figures are better.
        peak: the run's highest learning rate.
    """
    if best is None:
        return
    kept = f"{name}: the prompt of step {best.step} ({_figures(best.metrics)}) is"
    if baselines.start and _is_worse(best.metrics, baselines.start, objective):
        logger.warning(
            "%s worse on the validation examples than its untrained start (%s): training did harm. "
            "Try `learning_rate=%.2g`",
            kept,
            _figures(baselines.start),
            peak / 4,
        )
    if baselines.hard_prompt and _is_no_better(best.metrics, baselines.hard_prompt, objective):
        logger.warning(
            "%s no better on the validation examples than the template without virtual tokens (%s). Try more steps or "
            "examples, or use the template alone",
            kept,
            _figures(baselines.hard_prompt),
        )


def _is_worse(metrics: Metrics, other: Metrics, objective: Objective) -> bool:
    """Whether the headline or the loss is worse: a loss can double while as many answers are right."""
    return objective.quality(metrics)[0] < objective.quality(other)[0] or metrics["loss"] > other["loss"] * (1 + MARGIN)


def _is_no_better(metrics: Metrics, other: Metrics, objective: Objective) -> bool:
    return objective.quality(metrics) <= objective.quality(other)


def _figures(metrics: Metrics) -> str:
    headline = next(iter(metrics))
    return ", ".join(f"{name.replace('_', ' ')} {metrics[name]:.3g}" for name in dict.fromkeys((headline, "loss")))
