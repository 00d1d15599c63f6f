"""Training a soft prompt from settings to a saved prompt.

tune → PreparedRun.from_settings → TrainingSetup.from_settings → Trainer.train → Trainable.accumulate_gradients
"""

from __future__ import annotations

from typing import Any

from softprompt.model import FrozenModel
from softprompt.training.callbacks import NullCallback, TrainerCallback
from softprompt.training.data_parallel import init_process_group
from softprompt.training.prepared_run import PreparedRun
from softprompt.training.tune_result import TuneResult
from softprompt.training.tune_settings import TuneSettings


def tune(
    model: str | FrozenModel = "smollm2-135m",
    *,
    callback: TrainerCallback | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> TuneResult:
    """Train a soft prompt on a base model and save it.

    Args:
        model: Base model: a name, a folder, a Hub id, or a loaded model.
        callback: Callback for the steps and evaluations of the run.
        resume: Whether to continue from the run's last checkpoint.
        overwrite: Whether to replace an existing prompt or run.
        **settings: Fields of `TuneSettings`; `data` and `output` are required.

    Raises:
        OutputExists: If a prompt or an unfinished run exists, and neither `resume` nor `overwrite` is set.
        TrainingDiverged: If the loss was not a number; the best prompt before that was saved.
        SoftPromptError: If settings, data or model are invalid; nothing was written.
    """
    loaded_model = None if isinstance(model, str) else model
    model_name = model if isinstance(model, str) else model.name
    return tune_from_settings(
        TuneSettings.from_dict({"model": model_name, **settings}),
        loaded_model,
        callback,
        resume=resume,
        overwrite=overwrite,
    )


def tune_from_settings(
    settings: TuneSettings,
    model: FrozenModel | None = None,
    callback: TrainerCallback | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> TuneResult:
    """Train a soft prompt and save it. Under `accelerate launch`, each process computes a share of every batch.

    Args:
        settings: Settings of the run.
        model: Loaded base model; by default `settings.model` is loaded.
        callback: Callback for the steps and evaluations of the run.
        resume: Whether to continue from the run's last checkpoint.
        overwrite: Whether to replace an existing prompt or run.

    Raises:
        OutputExists: If a prompt or an unfinished run exists, and neither `resume` nor `overwrite` is set.
        TrainingDiverged: If the loss was not a number; the best prompt before that was saved.
        SoftPromptError: If settings, data or model are invalid; nothing was written.
    """
    prepared = PreparedRun.from_settings(settings, model, init_process_group(), resume=resume, overwrite=overwrite)
    return prepared.save_result(prepared.start_training(callback or NullCallback()).train())
