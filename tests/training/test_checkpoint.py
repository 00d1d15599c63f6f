"""A run's state in one file."""

from __future__ import annotations

from pathlib import Path

import torch

from softprompt.training.checkpoint import Best, Progress, read_checkpoint, write_checkpoint


def test_what_is_written_is_read(tmp_path: Path) -> None:
    best = Best(3, {"macro_f1": 0.5, "accuracy": 0.9, "majority": 0.9}, {"p": torch.ones(2)}, ("praise",))
    progress = Progress(step=4, best=best, stale=1, useful_tokens=7, seconds=0.5)
    write_checkpoint(tmp_path / "c", progress, {"p": torch.zeros(2)}, {"m": torch.ones(1)})
    found, prompt, optimiser = read_checkpoint(tmp_path / "c")
    assert found.best is not None
    assert (found.best.step, found.best.metrics, found.best.never_answered) == (3, best.metrics, ("praise",))
    assert list(found.best.metrics) == list(best.metrics)
    assert found.best.parameters["p"].tolist() == [1, 1]
    assert (found.step, found.stale, found.useful_tokens, found.seconds) == (4, 1, 7, 0.5)
    assert (prompt["p"].tolist(), optimiser["m"].tolist()) == ([0, 0], [1])
