"""Capacity of a cluster, and assignment of runs to workers. This module does not depend on Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from softprompt.training.tune_settings import TuneSettings

MAX_CORES_PER_WORKER = 4  # for workers without a GPU; fewer if a machine has fewer


@dataclass(frozen=True)
class ClusterCapacity:
    """Capacity of a cluster.

    Attributes:
        cores_per_worker: Number of CPU cores of each worker.
        gpus_per_worker: Number of GPUs of each worker, 0 or 1.
        num_workers: Number of workers that the cluster can hold.
    """

    cores_per_worker: int
    gpus_per_worker: int
    num_workers: int

    @classmethod
    def from_nodes(cls, nodes: Sequence[Mapping[str, float]], device: str) -> ClusterCapacity:
        """Compute the capacity of machines. Each worker gets a GPU if there are GPUs and `device` is not `cpu`.

        Args:
            nodes: Numbers of `CPU` and `GPU` of each machine.
            device: Device of the runs.
        """
        if device != "cpu" and (gpu_nodes := [node for node in nodes if node.get("GPU", 0) >= 1]):
            cores = min(int(node.get("CPU", 0) // node["GPU"]) for node in gpu_nodes)
            return cls(min(MAX_CORES_PER_WORKER, cores), 1, sum(int(node["GPU"]) for node in gpu_nodes))
        counts = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
        cores = min([MAX_CORES_PER_WORKER, *counts])
        return cls(cores, 0, max(1, sum(count // cores for count in counts)))


def assign_runs(runs: Mapping[str, TuneSettings], num_workers: int) -> list[dict[str, TuneSettings]]:
    """Assign runs to workers with about equal work: the longest run first, each to the worker with the least work."""
    assignments: list[dict[str, TuneSettings]] = [{} for _ in range(num_workers)]
    work = [0] * num_workers
    for name in sorted(runs, key=lambda name: -_estimate_work(runs[name])):
        least = work.index(min(work))
        assignments[least][name] = runs[name]
        work[least] += _estimate_work(runs[name])
    return assignments


def _estimate_work(settings: TuneSettings) -> int:
    return settings.max_steps * settings.batch_size * settings.gradient_accumulation_steps
