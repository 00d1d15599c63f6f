"""Many prompts tuned in one run: made ready, trained together, and saved each in its own folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from softprompt.errors import SettingError, SoftPromptError
from softprompt.model import FrozenModel, load_model
from softprompt.training.loop import Training
from softprompt.training.processes import check_alone
from softprompt.training.run_folder import RunFolder
from softprompt.training.settings import TuneSettings
from softprompt.training.shared_data import SharedData
from softprompt.training.together import train_together
from softprompt.training.tuning import Ready, Tuned
from softprompt.training.watching import Unwatched, Watcher


@dataclass(frozen=True)
class Failed:
    """What became of a run that did not end well: `error` says why, and what there is of it."""

    error: SoftPromptError


def run_together(
    runs: Mapping[str, TuneSettings],
    model: FrozenModel | None = None,
    watcher: Callable[[str], Watcher] = lambda _: Unwatched(),
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Tuned | Failed]:
    """Train prompts together on one model, and save each; by their names, what became of them.

    Each ends as `run` alone would have it, and is saved when it ends. One that fails, since its loss is no number or
    its folder cannot be written, ends, and the others go on.

    Args:
        runs: the settings of each, by a name.
        model: the base model if it is loaded already; that of the settings is loaded otherwise.
        watcher: of each run, by its name.
        resume: go on from each run's last checkpoint, where it has one, and begin those that never began.
        overwrite: replace prompts or runs that are there.

    Raises:
        SettingError: there is none, they do not share one model, or two write to one folder.
        SoftPromptError: one cannot begin, with its name; none was trained.
    """
    check_together(runs)
    ready = ready_together(runs, model, resume=runs if resume else (), overwrite=overwrite)
    found: dict[str, Tuned | Failed] = {}
    train_ready(ready, begin_together(ready, watcher), found.__setitem__)
    return {name: found[name] for name in runs}


def check_together(runs: Mapping[str, TuneSettings]) -> None:
    """See that runs can train together at all.

    Raises:
        SettingError: there is none, they do not share one model, two write to one folder, or this is one of several
            processes.
    """
    check_alone("a run of several prompts")
    if not runs:
        raise SettingError("no runs: name at least one")
    first = next(iter(runs.values()))
    for name, settings in runs.items():
        for shared in ("model", "device", "dtype", "gradient_checkpointing"):
            if getattr(settings, shared) != getattr(first, shared):
                raise SettingError(f"{name}: `{shared}` must be the same for all that train together")
    outputs = Counter(settings.output for settings in runs.values())
    if twice := [str(output) for output, count in outputs.items() if count > 1]:
        raise SettingError(f"several runs write to {twice[0]}: give each a folder of its own")


def ready_together(
    runs: Mapping[str, TuneSettings],
    model: FrozenModel | None = None,
    *,
    resume: Container[str] = (),
    overwrite: bool = False,
) -> dict[str, Ready]:
    """Make runs ready that were checked to go together; nothing is written.

    Args:
        runs: the settings of each, by a name.
        model: the base model if it is loaded already.
        resume: those that go on from their last checkpoint, where they have one.
        overwrite: replace prompts or runs that are there.

    Raises:
        SoftPromptError: one cannot begin, with its name.
    """
    first = next(iter(runs.values()))
    model = model or load_model(first.model, device=first.device, dtype=first.dtype)
    ready: dict[str, Ready] = {}
    shared = SharedData()
    for name, settings in runs.items():
        goes_on = name in resume and RunFolder(settings.run_folder).settings.is_file()
        with named(name):
            ready[name] = Ready.of(settings, model, resume=goes_on, overwrite=overwrite, shared=shared)
    return ready


def begin_together(ready: Mapping[str, Ready], watcher: Callable[[str], Watcher]) -> dict[str, Training]:
    """Begin runs that are ready, each with its watcher.

    Raises:
        SoftPromptError: one cannot, with its name; none was trained.
    """
    trainings: dict[str, Training] = {}
    for name, each in ready.items():
        with named(name):
            trainings[name] = each.begin(watcher(name))
    return trainings


def train_ready(
    ready: Mapping[str, Ready], trainings: Mapping[str, Training], told: Callable[[str, Tuned | Failed], None]
) -> None:
    """Train runs that have begun, and save each when it ends; `told` hears what became of it."""

    def ended(name: str, error: SoftPromptError | None) -> None:
        told(name, _ended(ready[name], trainings[name]) if error is None else Failed(error))

    train_together({name: (trainings[name], each.job.prompt) for name, each in ready.items()}, ended)


def _ended(ready: Ready, training: Training) -> Tuned | Failed:
    try:
        return ready.end(training.outcome)
    except SoftPromptError as error:
        return Failed(error)


@contextmanager
def named(run: str) -> Iterator[None]:
    """Put a run's name in front of what is wrong with it."""
    try:
        yield
    except SoftPromptError as error:
        error.args = (f"{run}: {error}",)
        raise
