"""The main job, from settings to a saved prompt: data, task, prompt, training, and what is kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from softprompt.errors import CheckpointError, OutputExists, TrainingDiverged
from softprompt.evaluation.evaluating import measure_hard_prompt
from softprompt.evaluation.measuring import measure
from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.saved.output_folder import check_free
from softprompt.training.baselines import Baselines, warn_if_not_better
from softprompt.training.checkpoint import hash_run
from softprompt.training.job import Job
from softprompt.training.loop import Outcome, Training
from softprompt.training.picture import draw_curve
from softprompt.training.processes import Alone, joined
from softprompt.training.record import FolderRecord
from softprompt.training.run_folder import RunFolder
from softprompt.training.settings import TuneSettings
from softprompt.training.shared_data import SharedData
from softprompt.training.watching import Unwatched, Watcher

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuned:
    """What a run made.

    Attributes:
        prompt: the saved prompt, or None when the run was stopped before its end.
        folder: where it is saved.
        steps: updates made.
        seconds: spent training, evaluations left out.
        useful_tokens_per_second: tokens that are neither padding nor virtual.
        best: the step that was kept and what it measured on the validation examples.
        baselines: what the untrained start and the hard prompt measured on them.
        tasks: where several were learnt together, each one's own prompt by its name.
        quality: by what the best was chosen, larger is better; empty where nothing was measured.
        never_answered: the labels that validation examples have and that the best never answers.
    """

    prompt: SavedPrompt | None
    folder: Path
    steps: int
    seconds: float
    useful_tokens_per_second: float
    best: dict[str, Any]
    tasks: dict[str, SavedPrompt]
    quality: tuple[float, ...] = ()
    baselines: Baselines = field(default_factory=Baselines)
    never_answered: tuple[str, ...] = ()


def tune(
    model: str | FrozenModel = "smollm2-135m",
    *,
    watcher: Watcher | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Tuned:
    """Train a prompt on a base model, by name or loaded, and save it: `run` for Python.

    The settings are those of `TuneSettings`; `data` and `output` are needed.
    """
    loaded = None if isinstance(model, str) else model
    name = model if isinstance(model, str) else model.name
    return run(TuneSettings.of({"model": name, **settings}), loaded, watcher, resume=resume, overwrite=overwrite)


def run(
    settings: TuneSettings,
    model: FrozenModel | None = None,
    watcher: Watcher | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Tuned:
    """Train a prompt and save it. Of several processes that accelerate launched, each learns from a share of the rows.

    Args:
        settings: everything the run depends on.
        model: the base model if it is loaded already; `settings.model` is loaded otherwise.
        watcher: is told of every step and evaluation.
        resume: go on from the run's last checkpoint.
        overwrite: replace a prompt or a run that is there.

    Raises:
        OutputExists: a prompt or an unfinished run is there, and neither `resume` nor `overwrite` was said.
        TrainingDiverged: the loss was not a number; the best prompt before that was saved.
        SoftPromptError: any other mistake in the settings, the data or the model; nothing was written.
    """
    ready = Ready.of(settings, model, joined(), resume=resume, overwrite=overwrite)
    return ready.end(ready.begin(watcher or Unwatched()).run())


@dataclass(frozen=True)
class Ready:
    """A run of which everything is checked, and nothing written yet.

    Attributes:
        settings: everything it depends on.
        job: what is to be trained.
        folder: its own files.
        facts: what the folder remembers of it.
        resume: it goes on from a checkpoint.
        processes: that train it.
    """

    settings: TuneSettings
    job: Job
    folder: RunFolder
    facts: dict[str, Any]
    resume: bool
    processes: Alone

    @classmethod
    def of(
        cls,
        settings: TuneSettings,
        model: FrozenModel | None = None,
        processes: Alone | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        shared: SharedData | None = None,
    ) -> Ready:
        """Make a run ready, or a killed one ready again. Data that are `shared` with other runs are read once.

        Raises:
            SoftPromptError: as `run`.
        """
        folder = RunFolder(settings.run_folder)
        _check_output(settings, folder, resume, overwrite)
        processes = processes or Alone()
        job, digests = _prepared(settings, model, processes, shared or SharedData())
        return cls(settings, job, folder, _facts(settings, job, digests), resume, processes)

    def begin(self, watcher: Watcher) -> Training:
        """Write down what the run depends on, and begin.

        Raises:
            CheckpointError: a run that is to go on began otherwise.
            DiskFull: there is no room for it.
        """
        self.processes.wait()  # until all have seen that the folder is free
        if self.processes.is_first:
            _begin(self.folder, self.facts, self.resume)
        record = FolderRecord(self.folder, hash_run(self.facts))
        training = self.job.training(self.settings, record, watcher, self.processes)
        training.evaluate_start()
        return training

    def end(self, outcome: Outcome) -> Tuned:
        """Save what the run made, and draw how it went.

        Raises:
            TrainingDiverged: the loss was not a number; the best prompt before that was saved.
        """
        settings, job = self.settings, self.job
        kept = _Kept() if outcome.stopped else _kept(outcome, settings, job)
        baselines = Baselines() if kept.prompt is None else _baselines(outcome, job)
        if self.processes.is_first:
            kept.write(settings.output)
            title = f"{settings.output.name}: {settings.method} on {job.model.name}"
            draw_curve(self.folder, title, baselines.hard_prompt)
            warn_if_not_better(str(settings.output), outcome.progress.best, baselines, job.objective, job.peak)
        self.processes.wait()
        if outcome.diverged:
            raise _diverged(outcome, settings, job, kept)
        quality = () if outcome.progress.best is None else job.objective.quality(outcome.progress.best.metrics)
        return _tuned(outcome, settings, kept, quality, baselines)


@dataclass(frozen=True)
class _Kept:
    """What there is to save of a run: its prompt, and of tasks that were learnt together each one's own."""

    prompt: SavedPrompt | None = None
    tasks: dict[str, SavedPrompt] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Save it, if there is something."""
        if self.prompt is not None:
            self.prompt.write(folder, overwrite=True, tasks=self.tasks)


def _prepared(
    settings: TuneSettings, model: FrozenModel | None, processes: Alone, shared: SharedData
) -> tuple[Job, dict[str, str]]:
    """The run, and the hashes of its data."""
    data = shared.prepare(settings)
    model = model or processes.load(settings)
    if settings.gradient_checkpointing:
        model.checkpoint_gradients()
    return Job.of(settings, model, data.task, data.examples, data.held_out, data.mixture, shared), data.digests


def _facts(settings: TuneSettings, job: Job, digests: dict[str, str]) -> dict[str, Any]:
    """What the run folder remembers; a resumed run must begin with the same settings, data and base."""
    return {
        "settings": settings.model_dump(mode="json"),
        "data": {**digests, "base": job.model.fingerprint},
        "learning_rate": job.peak,
        "start": job.start,
    }


def _check_output(settings: TuneSettings, folder: RunFolder, resume: bool, overwrite: bool) -> None:
    check_free(settings.output, overwrite or resume)
    if not resume:
        folder.check_own()
    unfinished = folder.settings.is_file() and not settings.output.exists()
    if unfinished and not (resume or overwrite):
        raise OutputExists(
            f"{folder.path} holds an unfinished run: go on with `resume=True`, or start over with `overwrite=True`"
        )


def _begin(folder: RunFolder, facts: dict[str, Any], resume: bool) -> None:
    if not resume:
        folder.begin(facts)
        return
    before = folder.read_settings()
    for part in ("settings", "data"):
        known = before[part] if part == "settings" else facts[part]  # an earlier version had fewer settings
        changed = [
            key for key in facts[part] if key in known and facts[part][key] != before[part].get(key) and key != "output"
        ]
        if changed:
            names = ", ".join(f"{_named(part, key)} ({before[part].get(key)} before)" for key in changed)
            raise CheckpointError(
                f"the run in {folder.path} began with other {part}: {names}. Resume it as it was, "
                "or start over with `overwrite=True`"
            )


def _named(part: str, key: str) -> str:
    """A setting's name; of the data's parts some are no settings."""
    return f"`{key}`" if part == "settings" else key


def _kept(outcome: Outcome, settings: TuneSettings, job: Job) -> _Kept:
    """The best prompt of a run: the best evaluation's, or the last step's where nothing was evaluated."""
    best = outcome.progress.best
    if best is not None:
        job.prompt.load_state_dict(best.parameters)
    elif outcome.diverged:
        return _Kept()
    with torch.no_grad():  # as it was evaluated: an LSTM computes otherwise, in the last bits, when it keeps a graph
        payload, each = job.prompt(), [job.prompt.of(task) for task in range(len(job.prompt.tasks))]
    saved = _made(settings, job, payload, {} if best is None else {"step": best.step, "validation": best.metrics})
    tasks = {
        name: _made(settings, job, each[task], _measured(job, task, each[task]))
        for task, name in enumerate(job.prompt.tasks)
    }
    return _Kept(saved, tasks)


def _made(settings: TuneSettings, job: Job, payload: Payload, metrics: dict[str, Any]) -> SavedPrompt:
    method = settings.model_dump(
        mode="json", include={"init", "encoder", "encoder_hidden", "freeze_sink", "layers", "seed"}
    )
    return SavedPrompt.make(
        job.model,
        payload,
        job.task,
        method={"name": settings.method, **method},
        trained_parameters=job.prompt.num_parameters,
        metrics=metrics,
        head=job.prompt.head,
    )


def _measured(job: Job, task: int, payload: Payload) -> dict[str, Any]:
    """What the validation examples of one task measure."""
    rows = [row for row in job.validation if row.task == task]
    if not rows:
        return {}
    with torch.no_grad():
        return {"validation": measure(job.objective, job.model.compile(payload), rows)}


def _diverged(outcome: Outcome, settings: TuneSettings, job: Job, kept: _Kept) -> TrainingDiverged:
    step = min(outcome.progress.step, settings.steps - 1)
    best = outcome.progress.best
    fate = (
        f"the best prompt so far (step {best.step}) is in {settings.output}"
        if kept.prompt and best
        else "nothing was kept"
    )
    where = f"at step {step + 1}, learning rate {job.optimiser(settings).rate(step):.2g}"
    return TrainingDiverged(
        f"the loss or its gradient was not a number {where}; {fate}. Try `learning_rate={job.peak / 4:.2g}`"
    )


def _baselines(outcome: Outcome, job: Job) -> Baselines:
    hard_prompt = measure_hard_prompt(job.model, job.task, job.held_out) if job.validation else None
    return Baselines(outcome.progress.start, hard_prompt)


def _tuned(
    outcome: Outcome, settings: TuneSettings, kept: _Kept, quality: tuple[float, ...], baselines: Baselines
) -> Tuned:
    progress = outcome.progress
    best = {} if progress.best is None else {"step": progress.best.step, **progress.best.metrics}
    speed = progress.useful_tokens / progress.seconds if progress.seconds else 0.0
    return Tuned(
        kept.prompt,
        settings.output,
        progress.step,
        progress.seconds,
        speed,
        best,
        kept.tasks,
        quality,
        baselines,
        () if progress.best is None else progress.best.never_answered,
    )
