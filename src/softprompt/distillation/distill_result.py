"""The result of a distillation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from softprompt.distillation.distill_report import DistillReport
from softprompt.saved import SavedPrompt


@dataclass(frozen=True)
class DistillResult:
    """Result of a distillation.

    Attributes:
        prompt: Saved prompt, or None if the run was stopped before its end.
        folder: Folder of the saved prompt.
        num_context_tokens: Number of tokens of the whole text, N.
        steps: Number of optimizer steps.
        seconds: Training time in seconds, without the teacher and evaluations.
        best_step: Step whose prompt was kept; None without validation inputs.
        metrics: Metrics of the kept prompt on the validation inputs; empty without them.
        initial_metrics: Metrics of the initial prefix on the validation inputs; empty without them.
        report: The prefix beside its alternatives; None without validation inputs.
    """

    prompt: SavedPrompt | None
    folder: Path
    num_context_tokens: int
    steps: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    initial_metrics: Mapping[str, float] = field(default_factory=dict)
    report: DistillReport | None = None
