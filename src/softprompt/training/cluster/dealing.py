"""How many workers a cluster has room for, and which runs each of them gets. Knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from softprompt.training.settings import TuneSettings

CORES = 4  # of a worker without a GPU, where every machine has as many


@dataclass(frozen=True)
class Room:
    """What a worker takes, and how many of them a cluster has room for."""

    cores: int
    gpus: int
    workers: int

    @classmethod
    def of(cls, machines: Sequence[Mapping[str, float]], device: str) -> Room:
        """The room on machines with so many `CPU` and `GPU`: a GPU each where there are some and they are wanted."""
        if device != "cpu" and (with_gpu := [each for each in machines if each.get("GPU", 0) >= 1]):
            cores = min(int(each.get("CPU", 0) // each["GPU"]) for each in with_gpu)
            return cls(min(CORES, cores), 1, sum(int(each["GPU"]) for each in with_gpu))
        counts = [int(each["CPU"]) for each in machines if each.get("CPU", 0) >= 1]
        cores = min([CORES, *counts])
        return cls(cores, 0, max(1, sum(count // cores for count in counts)))


def dealt(runs: Mapping[str, TuneSettings], count: int) -> list[dict[str, TuneSettings]]:
    """Shares of about equal work: each run, the longest first, goes to the share that has least to do."""
    shares: list[dict[str, TuneSettings]] = [{} for _ in range(count)]
    work = [0] * count
    for name in sorted(runs, key=lambda name: -_work(runs[name])):
        least = work.index(min(work))
        shares[least][name] = runs[name]
        work[least] += _work(runs[name])
    return shares


def _work(settings: TuneSettings) -> int:
    return settings.steps * settings.batch_size * settings.accumulate
