"""Joint training of many prompts, each with its own settings and output folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from softprompt.errors import SettingError, SoftPromptError
from softprompt.model import FrozenModel, load_model
from softprompt.training.callbacks import NullCallback, TrainerCallback
from softprompt.training.dataset_cache import DatasetCache
from softprompt.training.joint_trainer import train_jointly
from softprompt.training.prepared_run import PreparedRun
from softprompt.training.process_group import require_single_process
from softprompt.training.run_folder import RunFolder
from softprompt.training.trainer import Trainer
from softprompt.training.tune_result import TuneResult
from softprompt.training.tune_settings import TuneSettings


@dataclass(frozen=True)
class RunFailure:
    """Result of a run that failed; `error` tells the reason and what was saved."""

    error: SoftPromptError


def tune_concurrently(
    runs: Mapping[str, TuneSettings],
    model: FrozenModel | None = None,
    make_callback: Callable[[str], TrainerCallback] = lambda _: NullCallback(),
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, TuneResult | RunFailure]:
    """Train several prompts jointly on one model, and save each. Returns the result of each run by its name.

    Each run ends as if it were trained alone, and is saved when it ends. A run fails if its loss is not a number or its
    folder cannot be written; the other runs continue.

    Args:
        runs: Settings of each run by run name.
        model: Loaded base model; by default the settings' model is loaded.
        make_callback: Function from a run name to the run's callback.
        resume: Whether to continue runs from their last checkpoints. Runs without a run folder start at the beginning.
        overwrite: Whether to replace existing prompts or runs.

    Raises:
        SettingError: If there are no runs, they do not share one model, or two runs write to one folder.
        SoftPromptError: If a run cannot begin; the message starts with its name, and no run was trained.
    """
    check_compatible_runs(runs)
    prepared = prepare_runs(runs, model, resume=runs if resume else (), overwrite=overwrite)
    results: dict[str, TuneResult | RunFailure] = {}
    train_runs(prepared, start_runs(prepared, make_callback), results.__setitem__)
    return {name: results[name] for name in runs}


def check_compatible_runs(runs: Mapping[str, TuneSettings]) -> None:
    """Check that runs can be trained jointly.

    Raises:
        SettingError: If there are no runs, they do not share one model, two runs write to one folder, or this process
            is one of several.
    """
    require_single_process("joint training")
    if not runs:
        raise SettingError("there are no runs: pass at least one")
    first = next(iter(runs.values()))
    for name, settings in runs.items():
        for shared in ("model", "device", "dtype", "gradient_checkpointing"):
            if getattr(settings, shared) != getattr(first, shared):
                raise SettingError(f"{name}: `{shared}` must be the same for all runs that are trained jointly")
    outputs = Counter(settings.output for settings in runs.values())
    if duplicates := [str(output) for output, count in outputs.items() if count > 1]:
        raise SettingError(f"several runs write to {duplicates[0]}: choose another `output` for each run")


def prepare_runs(
    runs: Mapping[str, TuneSettings],
    model: FrozenModel | None = None,
    *,
    resume: Container[str] = (),
    overwrite: bool = False,
) -> dict[str, PreparedRun]:
    """Prepare compatible runs; nothing is written.

    Args:
        runs: Settings of each run by run name.
        model: Loaded base model; by default the settings' model is loaded.
        resume: Names of the runs that continue from their last checkpoint, if they have a run folder.
        overwrite: Whether to replace existing prompts or runs.

    Raises:
        SoftPromptError: If a run cannot begin; the message starts with its name.
    """
    first = next(iter(runs.values()))
    model = model or load_model(first.model, device=first.device, dtype=first.dtype)
    prepared: dict[str, PreparedRun] = {}
    dataset_cache = DatasetCache()
    for name, settings in runs.items():
        is_resumed = name in resume and RunFolder(settings.run_folder).settings_file.is_file()
        with prefix_errors_with(name):
            prepared[name] = PreparedRun.from_settings(
                settings, model, resume=is_resumed, overwrite=overwrite, dataset_cache=dataset_cache
            )
    return prepared


def start_runs(
    prepared: Mapping[str, PreparedRun], make_callback: Callable[[str], TrainerCallback]
) -> dict[str, Trainer]:
    """Start prepared runs, each with its callback.

    Raises:
        SoftPromptError: If a run cannot begin; the message starts with its name, and no run was trained.
    """
    trainers: dict[str, Trainer] = {}
    for name, run in prepared.items():
        with prefix_errors_with(name):
            trainers[name] = run.start_training(make_callback(name))
    return trainers


def train_runs(
    prepared: Mapping[str, PreparedRun],
    trainers: Mapping[str, Trainer],
    on_result: Callable[[str, TuneResult | RunFailure], None],
) -> None:
    """Train started runs, save each when it ends, and call `on_result` with its name and result."""

    def handle_run_end(name: str, error: SoftPromptError | None) -> None:
        on_result(name, _finish_run(prepared[name], trainers[name]) if error is None else RunFailure(error))

    train_jointly({name: (trainers[name], run.setup.prompt) for name, run in prepared.items()}, handle_run_end)


def _finish_run(prepared: PreparedRun, trainer: Trainer) -> TuneResult | RunFailure:
    try:
        return prepared.save_result(trainer.outcome)
    except SoftPromptError as error:
        return RunFailure(error)


@contextmanager
def prefix_errors_with(run_name: str) -> Iterator[None]:
    """Prefix the messages of errors with the name of a run."""
    try:
        yield
    except SoftPromptError as error:
        raise error.with_message(f"{run_name}: {error}") from error
