"""The room that a cluster has, and shares of about equal work."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.training import TuneSettings
from softprompt.training.cluster.dealing import Room, dealt

GPUS = {"CPU": 16.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("machines", "device", "room"),
    [
        ([{"CPU": 16.0}, {"CPU": 9.0}], "auto", Room(4, 0, 6)),
        ([{"CPU": 2.0}, {"CPU": 9.0}], "auto", Room(2, 0, 5)),
        ([{"CPU": 0.0}, {"CPU": 8.0}, {}], "auto", Room(4, 0, 2)),
        ([{}], "auto", Room(4, 0, 1)),
        ([GPUS, {"CPU": 64.0}], "auto", Room(2, 1, 8)),
        ([GPUS, {"CPU": 64.0, "GPU": 1.0}], "cuda", Room(2, 1, 9)),
        ([{"CPU": 64.0, "GPU": 1.0}], "auto", Room(4, 1, 1)),
        ([{"GPU": 2.0}], "auto", Room(0, 1, 2)),
        ([GPUS], "cpu", Room(4, 0, 4)),
    ],
)
def test_room(machines: list[dict[str, float]], device: str, room: Room) -> None:
    assert Room.of(machines, device) == room


def settings(**own: Any) -> TuneSettings:
    return TuneSettings.of({"data": "data.jsonl", "output": "out", **own})


def test_equal_runs_are_dealt_in_turn() -> None:
    assert [list(share) for share in dealt({name: settings() for name in "abcde"}, 2)] == [["a", "c", "e"], ["b", "d"]]


def test_long_runs_do_not_meet_in_one_share() -> None:
    runs = {"a": settings(), "b": settings(steps=300), "c": settings(), "d": settings(accumulate=3), "e": settings()}
    assert [set(share) for share in dealt(runs, 2)] == [{"b", "a", "e"}, {"d", "c"}]
