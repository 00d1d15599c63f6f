"""The training pipeline from settings to a saved prompt: data, task, prompt, training, export.

tune → PreparedRun.from_settings → TrainingSetup.from_settings → Trainer.train → Trainable.accumulate_gradients
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from softprompt.errors import CheckpointError, OutputExists, TrainingDiverged
from softprompt.evaluation.batch_inference import compute_metrics
from softprompt.evaluation.evaluate import compute_hard_prompt_metrics
from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.saved.output_folder import check_output_free
from softprompt.training.baselines import BaselineMetrics, warn_if_not_better
from softprompt.training.callbacks import NullCallback, TrainerCallback
from softprompt.training.checkpoint import compute_run_hash
from softprompt.training.data_parallel import init_process_group
from softprompt.training.dataset_cache import DatasetCache
from softprompt.training.loss_plot import plot_loss
from softprompt.training.process_group import ProcessGroup, SingleProcess
from softprompt.training.recorder import FolderRecorder
from softprompt.training.renamed_settings import rename_settings
from softprompt.training.run_folder import RunFolder
from softprompt.training.trainer import Trainer, TrainOutcome
from softprompt.training.training_setup import TrainingSetup
from softprompt.training.tune_settings import TuneSettings

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class PreparedRun:
    """Checked run, of which nothing is written yet.

    Attributes:
        settings: Settings of the run.
        setup: Prompt, model, task and encoded examples.
        run_folder: Folder of the run's own files.
        run_metadata: Content of run.json.
        resume: Whether the run continues from a checkpoint.
        process_group: Processes that train the run.
    """

    settings: TuneSettings
    setup: TrainingSetup
    run_folder: RunFolder
    run_metadata: dict[str, Any]
    resume: bool
    process_group: ProcessGroup

    @classmethod
    def from_settings(
        cls,
        settings: TuneSettings,
        model: FrozenModel | None = None,
        process_group: ProcessGroup | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        dataset_cache: DatasetCache | None = None,
    ) -> PreparedRun:
        """Prepare a new run, or the continuation of a killed one. Runs with one `dataset_cache` read their data once.

        Raises:
            SoftPromptError: As for `tune_from_settings`.
        """
        run_folder = RunFolder(settings.run_folder)
        _check_output(settings, run_folder, resume, overwrite)
        process_group = process_group or SingleProcess()
        setup, digests = _build_setup(settings, model, process_group, dataset_cache or DatasetCache())
        return cls(settings, setup, run_folder, _collect_run_metadata(settings, setup, digests), resume, process_group)

    def start_training(self, callback: TrainerCallback) -> Trainer:
        """Write run.json, load the checkpoint if there is one, and run the evaluation before the first step.

        Raises:
            CheckpointError: If a resumed run began with other settings or data.
            DiskFull: If the disk is full.
        """
        self.process_group.wait_for_everyone()  # until all processes have checked that the folder is free
        if self.process_group.is_main_process:
            _initialize_run_folder(self.run_folder, self.run_metadata, self.resume)
        recorder = FolderRecorder(self.run_folder, self._compute_run_hash())
        trainer = self.setup.create_trainer(self.settings, recorder, callback, self.process_group)
        trainer.evaluate_before_training()
        return trainer

    def _compute_run_hash(self) -> str:
        """Compute the hash that the run's checkpoints hold. A resumed run hashes its run.json as it is.

        Earlier versions had fewer settings and other names for some of them, which the hash of a new run.json would not
        reproduce.
        """
        return compute_run_hash(self.run_folder.read_metadata() if self.resume else self.run_metadata)

    def save_result(self, outcome: TrainOutcome) -> TuneResult:
        """Save the prompt of a run that has ended, and plot its loss.

        Raises:
            TrainingDiverged: If the loss was not a number; the best prompt before that was saved.
        """
        settings, setup, best = self.settings, self.setup, outcome.state.best
        exported = _ExportedPrompts() if outcome.stopped else _export_prompts(outcome, settings, setup)
        baselines = BaselineMetrics() if exported.prompt is None else _evaluate_baselines(outcome, setup)
        if self.process_group.is_main_process:
            exported.save_to(settings.output)
            title = f"{settings.output.name}: {settings.method} on {setup.model.name}"
            plot_loss(self.run_folder, title, baselines.hard_prompt)
            warn_if_not_better(str(settings.output), best, baselines, setup.objective, setup.peak_learning_rate)
        self.process_group.wait_for_everyone()
        if outcome.diverged:
            raise _build_divergence_error(outcome, settings, setup, exported)
        selection_key = () if best is None else setup.objective.selection_key(best.metrics)
        return _build_result(outcome, settings, exported, selection_key, baselines)


@dataclass(frozen=True)
class _ExportedPrompts:
    """Prompts to save: the run's prompt, and the prompt of each task if several tasks were trained together."""

    prompt: SavedPrompt | None = None
    task_prompts: dict[str, SavedPrompt] = field(default_factory=dict)

    def save_to(self, folder: Path) -> None:
        """Save the prompts, if there are any."""
        if self.prompt is not None:
            self.prompt.save_to(folder, overwrite=True, task_prompts=self.task_prompts)


def _build_setup(
    settings: TuneSettings, model: FrozenModel | None, process_group: ProcessGroup, dataset_cache: DatasetCache
) -> tuple[TrainingSetup, dict[str, str]]:
    """Build the training setup. Returns it with the digests of the data."""
    data = dataset_cache.prepare_data(settings)
    model = model or process_group.load_model(settings)
    if settings.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return TrainingSetup.from_settings(
        settings, model, data.task, data.train_examples, data.validation_examples, data.mixture, dataset_cache
    ), data.digests


def _collect_run_metadata(settings: TuneSettings, setup: TrainingSetup, digests: dict[str, str]) -> dict[str, Any]:
    """Collect the content of run.json. A resumed run must have the same settings, data and base model."""
    return {
        "settings": settings.model_dump(mode="json"),
        "data": {**digests, "base": setup.model.fingerprint},
        "learning_rate": setup.peak_learning_rate,
        "start": setup.init_description,
    }


def _check_output(settings: TuneSettings, run_folder: RunFolder, resume: bool, overwrite: bool) -> None:
    check_output_free(settings.output, overwrite or resume)
    if not resume:
        run_folder.check_overwritable()
    unfinished = run_folder.settings_file.is_file() and not settings.output.exists()
    if unfinished and not (resume or overwrite):
        raise OutputExists(
            f"{run_folder.path} holds an unfinished run: continue with `resume=True`, or start over with "
            "`overwrite=True`"
        )


def _initialize_run_folder(run_folder: RunFolder, run_metadata: dict[str, Any], resume: bool) -> None:
    if not resume:
        run_folder.initialize_run(run_metadata)
        return
    before = run_folder.read_metadata()
    before["settings"] = rename_settings(before["settings"], quiet=True)
    for part in ("settings", "data"):
        known = before[part] if part == "settings" else run_metadata[part]  # earlier versions had fewer settings
        changed = [
            key
            for key in run_metadata[part]
            if key in known and run_metadata[part][key] != before[part].get(key) and key != "output"
        ]
        if changed:
            changes = ", ".join(f"{_format_setting_name(part, key)} (was {before[part].get(key)})" for key in changed)
            raise CheckpointError(
                f"the run in {run_folder.path} began with other {part}: {changes}. Resume it unchanged, "
                "or start over with `overwrite=True`"
            )


def _format_setting_name(part: str, key: str) -> str:
    """Format the name of a setting; some keys of the data are not settings."""
    return f"`{key}`" if part == "settings" else key


def _export_prompts(outcome: TrainOutcome, settings: TuneSettings, setup: TrainingSetup) -> _ExportedPrompts:
    """Export the best prompt of a run: that of the best evaluation, or of the last step without evaluations."""
    best = outcome.state.best
    if best is not None:
        setup.prompt.load_state_dict(best.parameters)
    elif outcome.diverged:
        return _ExportedPrompts()
    task_names = setup.prompt.task_names
    with torch.no_grad():  # as in the evaluation: an LSTM that keeps a graph computes other last bits
        payload = setup.prompt()
        task_payloads = [setup.prompt.payload_for(task) for task in range(len(task_names))]
    saved_prompt = _build_saved_prompt(
        settings, setup, payload, {} if best is None else {"step": best.step, "validation": best.metrics}
    )
    task_prompts = {
        name: _build_saved_prompt(
            settings, setup, task_payloads[task], _evaluate_task(setup, task, task_payloads[task])
        )
        for task, name in enumerate(task_names)
    }
    return _ExportedPrompts(saved_prompt, task_prompts)


def _build_saved_prompt(
    settings: TuneSettings, setup: TrainingSetup, payload: Payload, metrics: dict[str, Any]
) -> SavedPrompt:
    method = {  # keys of the manifest, which keep their names when settings are renamed
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
        method={"name": settings.method, **method},
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
        return {"validation": compute_metrics(setup.objective, setup.model.compile(payload), examples)}


def _build_divergence_error(
    outcome: TrainOutcome, settings: TuneSettings, setup: TrainingSetup, exported: _ExportedPrompts
) -> TrainingDiverged:
    step = min(outcome.state.step, settings.max_steps - 1)
    best = outcome.state.best
    exported_text = (
        f"the best prompt so far (step {best.step}) is in {settings.output}"
        if exported.prompt and best
        else "no prompt was saved"
    )
    where = f"at step {step + 1}, learning rate {setup.create_optimizer(settings).get_learning_rate(step):.2g}"
    return TrainingDiverged(
        f"the loss or its gradient was not a number {where}; {exported_text}. "
        f"Try `learning_rate={setup.peak_learning_rate / 4:.2g}`"
    )


def _evaluate_baselines(outcome: TrainOutcome, setup: TrainingSetup) -> BaselineMetrics:
    hard_prompt = (
        compute_hard_prompt_metrics(setup.model, setup.task, setup.validation_examples)
        if setup.validation_dataset
        else None
    )
    return BaselineMetrics(outcome.state.initial_metrics, hard_prompt)


def _build_result(
    outcome: TrainOutcome,
    settings: TuneSettings,
    exported: _ExportedPrompts,
    selection_key: tuple[float, ...],
    baselines: BaselineMetrics,
) -> TuneResult:
    state = outcome.state
    best = {} if state.best is None else {"step": state.best.step, **state.best.metrics}
    tokens_per_second = state.useful_tokens / state.train_seconds if state.train_seconds else 0.0
    return TuneResult(
        exported.prompt,
        settings.output,
        state.step,
        state.train_seconds,
        tokens_per_second,
        best,
        exported.task_prompts,
        selection_key,
        baselines,
        () if state.best is None else state.best.unpredicted_labels,
    )
