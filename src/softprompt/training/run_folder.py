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

from safetensors import SafetensorError, safe_open

from softprompt.errors import CheckpointError, OutputExists, disk_errors
from softprompt.saved.folders import write_file
from softprompt.saved.own_files import join_names
from softprompt.training.watching import Evaluated, Stepped


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path):
        self.path = path
        self.settings = path / "run.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint.safetensors"
        self.picture = path / "loss.png"

    @property
    def files(self) -> tuple[Path, ...]:
        """What a run writes; whatever else is in the folder is left alone."""
        return (self.settings, self.metrics, self.checkpoint, self.picture)

    def check_own(self) -> None:
        """See that the files which a new run replaces are an earlier run's.

        Raises:
            OutputExists: they are another program's, or somebody's own.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputExists(f"{self.path} is no folder, and the run would keep its files there: name another output")
        there = [file.name for file in self.files if file.is_symlink() or file.exists()]
        with disk_errors(self.path):
            is_own = not there or self._is_of_a_run()
        if not is_own:
            raise OutputExists(
                f"{self.path} is no run's folder, so {join_names(there)} in it is not overwritten: move that away, or "
                "choose another output"
            )

    def _is_of_a_run(self) -> bool:
        """Whether one of the files is one that a run wrote; then the others are too, a damaged one as well."""
        try:
            self.read_settings()
        except CheckpointError:
            return _is_checkpoint(self.checkpoint) or bool(self.lines())
        return True

    def begin(self, settings: dict[str, Any]) -> None:
        """Begin a run here, forgetting one that was.

        Raises:
            DiskFull, SettingError: the folder cannot be written.
            OutputExists: what is there is no run's.
        """
        self.check_own()
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for file in self.files:
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
        if not isinstance(settings, dict) or not all(isinstance(settings.get(n), dict) for n in ("settings", "data")):
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
        """What was logged, in order; a line that a kill cut short is left out, with whatever follows it."""
        found: list[dict[str, Any]] = []
        for text in self.metrics.read_bytes().splitlines() if self.metrics.is_file() else []:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                break
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                break
            found.append(line)
        return found


def _is_checkpoint(file: Path) -> bool:
    try:
        with safe_open(file, framework="pt") as opened:
            return "progress" in (opened.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False
