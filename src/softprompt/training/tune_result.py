"""The result of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from softprompt.saved import SavedPrompt
from softprompt.training.baselines import BaselineMetrics
from softprompt.training.prompt_export import ExportedPrompts
from softprompt.training.trainer import TrainOutcome
from softprompt.training.training_setup import TrainingSetup


@dataclass(frozen=True)
class TuneResult:
    """Result of a training run.

    Attributes:
        prompt: Saved prompt, or None if the run was stopped before its end.
        folder: Folder of the saved prompt.
        steps: Number of optimizer steps.
        seconds: Training time in seconds, without evaluations.
        useful_tokens_per_second: Throughput in tokens that are neither padding nor virtual.
        best: The step whose prompt was kept, and its metrics on the validation examples; empty without evaluations.
        task_prompts: Prompt of each task by the task's name, if several tasks were trained together.
        selection_key: Key that the best step was selected by; larger is better. Empty without evaluations.
        baselines: Metrics of the untrained prompt and of the hard prompt on the validation examples.
        unpredicted_labels: Labels of validation examples that the best prompt never predicts.
    """

    prompt: SavedPrompt | None
    folder: Path
    steps: int
    seconds: float
    useful_tokens_per_second: float
    best: dict[str, Any]
    task_prompts: dict[str, SavedPrompt]
    selection_key: tuple[float, ...] = ()
    baselines: BaselineMetrics = field(default_factory=BaselineMetrics)
    unpredicted_labels: tuple[str, ...] = ()

    @classmethod
    def from_outcome(
        cls, outcome: TrainOutcome, setup: TrainingSetup, exported: ExportedPrompts, baselines: BaselineMetrics
    ) -> TuneResult:
        """Build the result of a run that has ended.

        Args:
            outcome: Outcome of the run.
            setup: Setup of the run.
            exported: Prompts that were saved.
            baselines: Metrics of the untrained prompt and of the hard prompt.
        """
        state, best = outcome.state, outcome.state.best
        return cls(
            prompt=exported.prompt,
            folder=setup.settings.output,
            steps=state.step,
            seconds=state.train_seconds,
            useful_tokens_per_second=state.useful_tokens / state.train_seconds if state.train_seconds else 0.0,
            best={} if best is None else {"step": best.step, **best.metrics},
            task_prompts=exported.task_prompts,
            selection_key=() if best is None else setup.objective.selection_key(best.metrics),
            baselines=baselines,
            unpredicted_labels=() if best is None else best.unpredicted_labels,
        )
