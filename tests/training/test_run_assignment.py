"""Capacity of a cluster, and assignment of runs to workers."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.training import TuneSettings
from softprompt.training.cluster.run_assignment import ClusterCapacity, assign_runs

GPUS = {"CPU": 16.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("machines", "device", "room"),
    [
        ([{"CPU": 16.0}, {"CPU": 9.0}], "auto", ClusterCapacity(4, 0, 6)),
        ([{"CPU": 2.0}, {"CPU": 9.0}], "auto", ClusterCapacity(2, 0, 5)),
        ([{"CPU": 0.0}, {"CPU": 8.0}, {}], "auto", ClusterCapacity(4, 0, 2)),
        ([{}], "auto", ClusterCapacity(4, 0, 1)),
        ([GPUS, {"CPU": 64.0}], "auto", ClusterCapacity(2, 1, 8)),
        ([GPUS, {"CPU": 64.0, "GPU": 1.0}], "cuda", ClusterCapacity(2, 1, 9)),
        ([{"CPU": 64.0, "GPU": 1.0}], "auto", ClusterCapacity(4, 1, 1)),
        ([{"GPU": 2.0}], "auto", ClusterCapacity(0, 1, 2)),
        ([GPUS], "cpu", ClusterCapacity(4, 0, 4)),
    ],
)
def test_cluster_capacity_is_computed_from_its_nodes(
    machines: list[dict[str, float]], device: str, room: ClusterCapacity
) -> None:
    assert ClusterCapacity.from_nodes(machines, device) == room


def settings(**own: Any) -> TuneSettings:
    return TuneSettings.from_dict({"data": "data.jsonl", "output": "out", **own})


def test_equal_runs_are_assigned_in_turn() -> None:
    assert [list(share) for share in assign_runs({name: settings() for name in "abcde"}, 2)] == [
        ["a", "c", "e"],
        ["b", "d"],
    ]


def test_long_runs_are_assigned_to_different_workers() -> None:
    runs = {
        "a": settings(),
        "b": settings(max_steps=300),
        "c": settings(),
        "d": settings(gradient_accumulation_steps=3),
        "e": settings(),
    }
    assert [set(share) for share in assign_runs(runs, 2)] == [{"b", "a", "e"}, {"d", "c"}]
