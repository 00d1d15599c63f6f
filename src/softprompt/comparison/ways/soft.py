"""The soft prompts, each trained as `softprompt tune` trains it."""

from __future__ import annotations

from functools import partial

import torch

from softprompt.comparison.bench import Bench
from softprompt.comparison.course import followed
from softprompt.comparison.local import FittedHere
from softprompt.comparison.way import Fitted, Kind, Trial, Way
from softprompt.prompts import METHODS
from softprompt.prompts.methods import chosen
from softprompt.training import TuneSettings, Watcher
from softprompt.training.job import Job
from softprompt.training.processes import Alone
from softprompt.training.record import NoRecord


class Soft(Way):
    """A method of `softprompt.prompts`, with the encoder named behind a colon if it is not its first: `prefix:mlp`."""

    kind = Kind.SOFT_PROMPT

    def __init__(self, method: str, argument: str | None = None):
        """Take a method and its encoder.

        Raises:
            SettingError: the method has no such encoder.
        """
        self.method = method
        self.encoder = argument
        if argument:
            chosen("encoder", argument, METHODS[method].encoders)
        self.title = TITLES[method] + (f", {argument.upper()} encoder" if argument else "")

    def rate(self, bench: Bench) -> float:
        """The method's own."""
        return METHODS[self.method].default_rate(bench.model)

    def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:
        """Train it, and compile the best of its steps."""
        settings = self.settings(bench, trial)
        job = Job.of(settings, bench.model, bench.task, trial.examples, bench.validation)
        course, best = followed(
            lambda listener: job.training(settings, NoRecord(), listener, Alone()).run(), watcher, job.peak
        )
        job.prompt.load_state_dict(best)
        with torch.no_grad():
            payload = job.prompt()
            compiled = bench.model.compile(payload)
        head = 0 if job.prompt.head is None else sum(p.numel() for p in job.prompt.head.parameters())
        return FittedHere(
            job.objective,
            compiled,
            trained_parameters=job.prompt.num_parameters,
            stored_bytes=4 * (payload.tensor.numel() + head),
            mixes=head == 0,
            course=course,
        )

    def settings(self, bench: Bench, trial: Trial) -> TuneSettings:
        """What `tune` would be told."""
        options = {name.replace("-", "_"): value for name, value in trial.options.items()}
        given = {"method": self.method, "encoder": self.encoder, "learning_rate": trial.rate, **options}
        return bench.settings.tuning(steps=trial.steps, seed=trial.seed, **given)


TITLES = {
    "prompt": "prompt tuning",
    "residual": "prompt tuning, residual",
    "p-tuning": "P-tuning v1",
    "context": "context-aware prompt tuning",
    "prefix": "prefix tuning",
    "p-tuning-v2": "P-tuning v2",
}

#: Every soft prompt that learns one task.
SOFT = {name: partial(Soft, name) for name, method in METHODS.items() if not method.learns_several}
