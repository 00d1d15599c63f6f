"""The prompts of a finished run, as they are saved."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from softprompt.evaluation.batch_inference import compute_metrics
from softprompt.model import Payload
from softprompt.saved import SavedPrompt
from softprompt.training.trainer import TrainOutcome
from softprompt.training.training_setup import TrainingSetup


@dataclass(frozen=True)
class ExportedPrompts:
    """Prompts to save: the run's prompt, and the prompt of each task if several tasks were trained together.

    Attributes:
        prompt: Prompt of the run; None if there is nothing to save.
        task_prompts: Prompt of each task by the task's name.
    """

    prompt: SavedPrompt | None = None
    task_prompts: dict[str, SavedPrompt] = field(default_factory=dict)

    @classmethod
    def from_outcome(cls, outcome: TrainOutcome, setup: TrainingSetup) -> ExportedPrompts:
        """Export the best prompt of a run: that of the best evaluation, or of the last step without evaluations.

        A run that was stopped has no prompt yet, and a run that diverged before its first evaluation has none.
        """
        best = outcome.state.best
        if outcome.stopped or (best is None and outcome.diverged):
            return cls()
        if best is not None:
            setup.prompt.load_state_dict(best.parameters)
        task_names = setup.prompt.task_names
        with torch.no_grad():  # as in the evaluation: an LSTM that keeps a graph computes other last bits
            payload = setup.prompt()
            task_payloads = [setup.prompt.payload_for(task) for task in range(len(task_names))]
        metrics = {} if best is None else {"step": best.step, "validation": best.metrics}
        task_prompts = {
            name: _build_saved_prompt(setup, task_payloads[task], _evaluate_task(setup, task, task_payloads[task]))
            for task, name in enumerate(task_names)
        }
        return cls(_build_saved_prompt(setup, payload, metrics), task_prompts)

    def save_to(self, folder: Path) -> None:
        """Save the prompts, if there are any."""
        if self.prompt is not None:
            self.prompt.save_to(folder, overwrite=True, task_prompts=self.task_prompts)


def _build_saved_prompt(setup: TrainingSetup, payload: Payload, metrics: dict[str, Any]) -> SavedPrompt:
    settings = setup.settings
    method = {  # keys of the manifest, which keep their names when settings are renamed
        "name": settings.method,
        "init": settings.init,
        "encoder": settings.encoder,
        "encoder_hidden": settings.encoder_hidden_size,
        "freeze_sink": settings.freeze_sink,
        "layers": settings.layers,
        "seed": settings.seed,
    }
    return SavedPrompt.from_payload(
        setup.model,
        payload,
        setup.task,
        method=method,
        trained_parameters=setup.prompt.num_parameters,
        metrics=metrics,
        head=setup.prompt.head,
    )


def _evaluate_task(setup: TrainingSetup, task: int, payload: Payload) -> dict[str, Any]:
    """Evaluate a task's prompt on the validation examples of the task."""
    examples = [example for example in setup.validation_dataset if example.task_index == task]
    if not examples:
        return {}
    with torch.no_grad():
        return {"validation": compute_metrics(setup.objective, setup.model.compile_payload(payload), examples)}
