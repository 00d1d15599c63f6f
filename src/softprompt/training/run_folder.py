"""A run's own files: its settings, what it measured, its checkpoint, and a picture of its loss.

reviews.run/
├── run.json                  the resolved settings and the data's hashes
├── metrics.jsonl             a line a step, and a line an evaluation
├── checkpoint.safetensors    what `resume` goes on from
└── loss.png                  the curve
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from softprompt.errors import CheckpointError, disk_errors
from softprompt.saved.folders import write_file
from softprompt.training.watching import Evaluated, Stepped


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path):
        self.path = path
        self.settings = path / "run.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint.safetensors"
        self.picture = path / "loss.png"

    def begin(self, settings: dict[str, Any]) -> None:
        """Begin a run here, forgetting one that was.

        Raises:
            DiskFull, SettingError: the folder cannot be written.
        """
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for file in (self.settings, self.metrics, self.checkpoint, self.picture):
                file.unlink(missing_ok=True)
            write_file(self.settings, (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode())

    def read_settings(self) -> dict[str, Any]:
        """The settings that the run here began with.

        Raises:
            CheckpointError: no run began here, or its file is damaged.
        """
        try:
            settings = json.loads(self.settings.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"nothing to resume: {self.settings} is missing") from error
        except ValueError as error:
            raise CheckpointError(f"{self.settings} is damaged: start over with `overwrite=True`") from error
        if not isinstance(settings, dict) or not isinstance(settings.get("settings"), dict):
            raise CheckpointError(f"{self.settings} is damaged: start over with `overwrite=True`")
        return settings

    def log_step(self, event: Stepped) -> None:
        """Add a line for an update."""
        self._log(asdict(event))

    def log_evaluation(self, event: Evaluated) -> None:
        """Add a line for an evaluation."""
        self._log({"step": event.step, "validation": dict(event.metrics), "best": event.best})

    def _log(self, line: dict[str, Any]) -> None:
        with disk_errors(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the lines that a killed run wrote after its last checkpoint: those steps are made again."""
        kept = [json.dumps(line) + "\n" for line in self.lines() if line["step"] <= step]
        with disk_errors(self.metrics):
            write_file(self.metrics, "".join(kept).encode())

    def lines(self) -> list[dict[str, Any]]:
        """What was logged, in order; a line that a kill cut short is left out."""
        found = []
        for text in self.metrics.read_text(encoding="utf-8").splitlines() if self.metrics.is_file() else []:
            try:
                found.append(json.loads(text))
            except json.JSONDecodeError:
                break
        return found
