"""A run's figures in TensorBoard, through accelerate's tracker."""

from __future__ import annotations

from pathlib import Path

import pytest

from softprompt.errors import SettingError
from softprompt.training import TuneSettings, run
from softprompt.training.tracking import Tracker
from tests.tiny import tiny_model


def settings(reviews: Path, folder: Path) -> TuneSettings:
    return TuneSettings(
        data=reviews, validation=reviews, output=folder / "p", steps=3, batch_size=4, virtual_tokens=3, evaluate_every=1
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_every_step_and_evaluation(reviews: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = settings(reviews, tmp_path)
    with Tracker.open("tensorboard", chosen) as tracker:
        run(chosen, tiny_model("llama"), tracker)
    found = EventAccumulator(str(tmp_path / "p.run" / "p"))
    found.Reload()
    assert [event.step for event in found.Scalars("loss")] == [1, 2, 3]
    assert [event.step for event in found.Scalars("validation/accuracy")] == [0, 1, 2, 3]


def test_an_unknown_tracker_is_named(reviews: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(SettingError, match="unknown tracker 'magic': one of tensorboard"),
        Tracker.open("magic", settings(reviews, tmp_path)),
    ):
        pass
