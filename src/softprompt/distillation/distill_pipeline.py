"""Distillation of a text into a few virtual tokens, from settings to a saved prompt.

distil → DistillSetup.from_settings → DistillRun.start → Trainer.train → DistillRun.save_result
"""

from __future__ import annotations

from typing import Any

from softprompt.distillation.distill_result import DistillResult
from softprompt.distillation.distill_run import DistillRun, describe_method
from softprompt.distillation.distill_run_folder import DistillRunFolder
from softprompt.distillation.distill_settings import DistillSettings
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.targeted_inputs import ProgressCallback
from softprompt.model import FrozenModel, load_model
from softprompt.saved import SavedPrompt
from softprompt.saved.output_folder import check_output_free
from softprompt.training.callbacks import NullCallback, TrainerCallback
from softprompt.training.process_group import require_single_process
from softprompt.training.run_output import check_run_output


def distil(
    model: str | FrozenModel = "smollm2-135m",
    *,
    callback: TrainerCallback | None = None,
    on_progress: ProgressCallback | None = None,
    resume: bool = False,
    overwrite: bool = False,
    force: bool = False,
    **settings: Any,
) -> DistillResult:
    """Turn a text in front of every input into a few virtual tokens of the same model, and save them as a prompt.

    The teacher is the frozen model behind the whole text; the virtual tokens learn its probabilities on the inputs
    (Cartridges, arXiv 2506.06266).

    Args:
        model: Base model: a name, a folder, a Hub id, or a loaded model.
        callback: Callback for the steps and evaluations of the run.
        on_progress: Called with the stage before training, the number of finished items and their total number.
        resume: Whether to continue from the run's folder.
        overwrite: Whether to replace an existing prompt or run.
        force: Whether to continue although the teacher is at chance.
        **settings: Fields of `DistillSettings`; `output` and one of `context`, `examples` and `document` are required.

    Raises:
        OutputExists: If a prompt or an unfinished run exists, and neither `resume` nor `overwrite` is set.
        TrainingDiverged: If the loss was not a number; the best prefix before that was saved.
        SoftPromptError: If settings, data or model are invalid; nothing was written.
    """
    loaded_model = None if isinstance(model, str) else model
    model_name = model if isinstance(model, str) else model.name
    return distil_from_settings(
        DistillSettings.from_dict({"model": model_name, **settings}),
        loaded_model,
        callback,
        on_progress,
        resume=resume,
        overwrite=overwrite,
        force=force,
    )


def distil_from_settings(
    settings: DistillSettings,
    model: FrozenModel | None = None,
    callback: TrainerCallback | None = None,
    on_progress: ProgressCallback | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    force: bool = False,
) -> DistillResult:
    """Distil a text and save the prompt: see `distil`.

    Raises:
        OutputExists, TrainingDiverged, SoftPromptError: As `distil`.
    """
    require_single_process("distillation")
    settings.check_sources()
    run_folder = DistillRunFolder(settings.run_folder)
    if settings.is_exact:
        check_output_free(settings.output, overwrite or resume)
    else:
        check_run_output(settings, run_folder, resume=resume, overwrite=overwrite)
    model = model or load_model(settings.model, device=settings.device, dtype=settings.dtype)
    if settings.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    setup = DistillSetup.from_settings(settings, model)
    if settings.is_exact:
        return _save_exact(setup)
    callback = callback or NullCallback()
    try:
        run = DistillRun.start(
            setup, run_folder, callback, _stop_between(callback, on_progress), resume=resume, force=force
        )
    except _StoppedBeforeTraining:
        return DistillResult(None, settings.output, setup.context.num_tokens)
    return run.save_result(run.training.trainer.train(), on_progress)


class _StoppedBeforeTraining(Exception):
    """A callback stopped the run while the teacher answered."""


def _stop_between(callback: TrainerCallback, on_progress: ProgressCallback | None) -> ProgressCallback:
    """Return a progress callback that stops the run between two answers, if the run's callback requests it."""

    def report_progress(stage: str, completed: int, total: int) -> None:
        if on_progress is not None:
            on_progress(stage, completed, total)
        if completed < total and callback.should_stop():
            raise _StoppedBeforeTraining

    return report_progress


def _save_exact(setup: DistillSetup) -> DistillResult:
    """Save the keys and values of the whole text as a prompt."""
    prompt = SavedPrompt.from_payload(
        setup.model, setup.context.prefix, setup.task, method=describe_method(setup), trained_parameters=0
    )
    prompt.save_to(setup.settings.output, overwrite=True)
    return DistillResult(prompt, setup.settings.output, setup.context.num_tokens)
