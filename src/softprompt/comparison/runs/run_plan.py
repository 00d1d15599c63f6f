"""Plans the runs of a method: each run is one fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod


@dataclass(frozen=True)
class RunSpec:
    """A run: one fit of one method.

    Attributes:
        method: name of the method.
        purpose: `pilot` (timing of a step), `trial` (a learning rate, measured on the validation set only), `seed`
            (measured on the test set), `size` (like `seed`, with fewer examples) or `sweep` (with another setting).
        seed: random seed.
        number: index of a trial, or number of training examples of a `size` run.
        override: name and value of the setting that a sweep varies.
    """

    method: str
    purpose: str
    seed: int = 0
    number: int = 0
    override: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        """The unique name of the run in its comparison."""
        parts = [self.method, self.purpose, *map(str, self.override or ()), str(self.number), str(self.seed)]
        return "/".join(parts)


def plan_runs(settings: CompareSettings, name: str, method: AdaptationMethod) -> list[RunSpec]:
    """Return the runs of a method, in the order of execution.

    Trials use seed 0, and the run of seed 0 continues with the best trial: the two are one training.
    """
    seeds = range(settings.seeds if method.is_stochastic else 1)
    trials = [RunSpec(name, "trial", number=number) for number in range(settings.trials)] if method.is_trained else []
    seed_runs = [RunSpec(name, "seed", seed) for seed in seeds]
    size_runs = [RunSpec(name, "size", seed, size) for size in settings.train_sizes for seed in seeds]
    sweep_runs = [
        RunSpec(name, "sweep", seed, override=(setting, value))
        for setting, values in settings.sweep.items()
        for value in values
        for seed in seeds
    ]
    return [
        *trials,
        *seed_runs,
        *(size_runs if method.is_stochastic else []),
        *(sweep_runs if method.kind is MethodKind.SOFT_PROMPT else []),
    ]


def count_trainings(runs: Sequence[RunSpec]) -> int:
    """Return the number of trainings: the run of seed 0 continues a trial and is not counted."""
    return sum(run.purpose != "seed" or run.seed > 0 for run in runs)
