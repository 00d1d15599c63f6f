"""Metrics of a run in TensorBoard, through accelerate's tracker."""

from __future__ import annotations

from pathlib import Path

import pytest

from softprompt.errors import SettingError
from softprompt.training import TuneSettings, tune_from_settings
from softprompt.training.tracker_callback import TrackerCallback
from tests.tiny import tiny_model


def settings(reviews: Path, folder: Path) -> TuneSettings:
    return TuneSettings(
        data=reviews,
        validation=reviews,
        output=folder / "p",
        max_steps=3,
        batch_size=4,
        num_virtual_tokens=3,
        eval_steps=1,
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_receives_every_step_and_evaluation(reviews: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = settings(reviews, tmp_path)
    with TrackerCallback.open_tracker("tensorboard", chosen) as tracker:
        tune_from_settings(chosen, tiny_model("llama"), tracker)
    found = EventAccumulator(str(tmp_path / "p.run" / "p"))
    found.Reload()
    assert [event.step for event in found.Scalars("loss")] == [1, 2, 3]
    assert [event.step for event in found.Scalars("validation/accuracy")] == [0, 1, 2, 3]


def test_unknown_tracker_is_rejected(reviews: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(SettingError, match="unknown tracker 'magic': choose one of tensorboard"),
        TrackerCallback.open_tracker("magic", settings(reviews, tmp_path)),
    ):
        pass
