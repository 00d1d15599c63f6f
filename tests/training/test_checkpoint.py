"""Checkpoints in one file."""

from __future__ import annotations

from pathlib import Path

import torch

from softprompt.training.checkpoint import BestCheckpoint, TrainerState, read_checkpoint, write_checkpoint


def test_read_checkpoint_returns_what_was_written(tmp_path: Path) -> None:
    best = BestCheckpoint(3, {"macro_f1": 0.5, "accuracy": 0.9, "majority": 0.9}, {"p": torch.ones(2)}, ("praise",))
    state = TrainerState(step=4, best=best, evals_since_best=1, useful_tokens=7, train_seconds=0.5)
    write_checkpoint(tmp_path / "c", state, {"p": torch.zeros(2)}, {"m": torch.ones(1)})
    read_state, parameters, optimizer_state = read_checkpoint(tmp_path / "c")
    assert read_state.best is not None
    assert (read_state.best.step, read_state.best.metrics, read_state.best.unpredicted_labels) == (
        3,
        best.metrics,
        ("praise",),
    )
    assert list(read_state.best.metrics) == list(best.metrics)
    assert read_state.best.parameters["p"].tolist() == [1, 1]
    assert (read_state.step, read_state.evals_since_best, read_state.useful_tokens, read_state.train_seconds) == (
        4,
        1,
        7,
        0.5,
    )
    assert (parameters["p"].tolist(), optimizer_state["m"].tolist()) == ([0, 0], [1])
