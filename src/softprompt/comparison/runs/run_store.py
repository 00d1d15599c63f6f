"""The runs of a comparison: each is one fit of one method. Results of finished runs are on disk and are reused."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from softprompt.atomic import atomic_write_file
from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod
from softprompt.errors import translate_os_errors


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


@dataclass(frozen=True)
class RunStore:
    """The stored results of one method's finished runs.

    Attributes:
        folder: folder with a JSON file for each run.
        cache_key: everything that the results depend on. Results with another key are ignored.
    """

    folder: Path
    cache_key: Mapping[str, Any] = field(default_factory=dict)

    def get_result(self, run: RunSpec, params: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return the result of a finished run, or None.

        Args:
            run: the run.
            params: parameters that the result must have been stored with, such as the learning rate; None for any.
        """
        try:
            content = json.loads(self._get_run_path(run).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        is_current = content.get("key") == self._hash_run(run) and (params is None or content.get("given") == params)
        result: dict[str, Any] | None = content.get("found") if is_current else None
        return result

    def save_result(self, run: RunSpec, params: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Store the result of a run.

        Args:
            run: the run.
            params: parameters of the run, such as the learning rate.
            result: JSON values.

        Raises:
            DiskFull: the disk is full.
        """
        content = {"cell": run.name, "key": self._hash_run(run), "given": params, "found": result}
        with translate_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write_file(self._get_run_path(run), (json.dumps(content, ensure_ascii=False) + "\n").encode())

    def _get_run_path(self, run: RunSpec) -> Path:
        readable = re.sub(r"[^\w.=-]+", "-", run.name)[:80]
        return self.folder / f"{readable}-{_hash_text(run.name)[:8]}.json"

    def _hash_run(self, run: RunSpec) -> str:
        return _hash_text(json.dumps([run.name, self.cache_key], sort_keys=True, default=str))


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


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
