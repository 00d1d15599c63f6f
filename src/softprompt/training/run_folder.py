"""The run folder: settings, metrics, checkpoint and loss plot of a run.

reviews.run/
├── run.json                  the resolved settings and the data's hashes
├── metrics.jsonl             a line for each step and each evaluation
├── checkpoint.safetensors    what `resume` continues from
└── loss.png                  the loss plot
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from softprompt.atomic import atomic_write_file
from softprompt.errors import CheckpointError, OutputExists, translate_os_errors
from softprompt.saved.foreign_files import join_names
from softprompt.training.callbacks import EvalEvent, StepEvent


class RunFolder:
    """Folder of one run, with the files that the run writes."""

    def __init__(self, path: Path):
        self.path = path
        self.settings_file = path / "run.json"
        self.metrics_file = path / "metrics.jsonl"
        self.checkpoint_file = path / "checkpoint.safetensors"
        self.loss_plot_file = path / "loss.png"

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that a run writes. Other files in the folder are left alone."""
        return (self.settings_file, self.metrics_file, self.checkpoint_file, self.loss_plot_file)

    def check_overwritable(self) -> None:
        """Check that the files which a new run would replace were written by an earlier run.

        Raises:
            OutputExists: If the files were not written by a run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputExists(
                f"{self.path} is not a folder, but the run would keep its files there: choose another output"
            )
        existing = [file.name for file in self.files if file.is_symlink() or file.exists()]
        with translate_os_errors(self.path):
            is_run = not existing or self._is_run_folder()
        if not is_run:
            raise OutputExists(
                f"{self.path} is not the folder of a run, so {join_names(existing)} in it is not overwritten: move the "
                "files away, or choose another output"
            )

    def _is_run_folder(self) -> bool:
        """Return whether a run wrote one of the files. Then the other files are its own too, even damaged ones."""
        try:
            self.read_metadata()
        except CheckpointError:
            return _is_checkpoint(self.checkpoint_file) or bool(self.read_log())
        return True

    def initialize_run(self, metadata: dict[str, Any]) -> None:
        """Begin a run in this folder, and delete the files of an earlier run.

        Args:
            metadata: Content of run.json: `settings`, `data` and others.

        Raises:
            DiskFull, SettingError: If the folder cannot be written.
            OutputExists: If existing files were not written by a run.
        """
        self.check_overwritable()
        with translate_os_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for file in self.files:
                file.unlink(missing_ok=True)
            atomic_write_file(self.settings_file, (json.dumps(metadata, indent=2, ensure_ascii=False) + "\n").encode())

    def read_metadata(self) -> dict[str, Any]:
        """Read run.json: the settings and data that the run began with, under the names of the version that wrote it.

        Raises:
            CheckpointError: If there is no run in this folder, or run.json is damaged.
        """
        try:
            metadata = json.loads(self.settings_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"nothing to resume: {self.settings_file} is missing") from error
        except ValueError as error:
            raise CheckpointError(f"{self.settings_file} is damaged: start over with `overwrite=True`") from error
        if not isinstance(metadata, dict) or not all(isinstance(metadata.get(n), dict) for n in ("settings", "data")):
            raise CheckpointError(f"{self.settings_file} is damaged: start over with `overwrite=True`")
        return metadata

    def log_step(self, event: StepEvent) -> None:
        """Append a line for a step to metrics.jsonl."""
        self._append_line(asdict(event))

    def log_evaluation(self, event: EvalEvent) -> None:
        """Append a line for an evaluation to metrics.jsonl."""
        self._append_line({"step": event.step, "validation": dict(event.metrics), "best": event.is_best})

    def _append_line(self, line: dict[str, Any]) -> None:
        with translate_os_errors(self.metrics_file), self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def truncate_log(self, step: int) -> None:
        """Drop the lines that a killed run wrote after its last checkpoint, since those steps are repeated."""
        lines = [json.dumps(line) + "\n" for line in self.read_log() if line["step"] <= step]
        with translate_os_errors(self.metrics_file):
            atomic_write_file(self.metrics_file, "".join(lines).encode())

    def read_log(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl in order, up to a line that was cut short when the run was killed."""
        lines: list[dict[str, Any]] = []
        for text in self.metrics_file.read_bytes().splitlines() if self.metrics_file.is_file() else []:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                break
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                break
            lines.append(line)
        return lines


def _is_checkpoint(file: Path) -> bool:
    try:
        with safe_open(file, framework="pt") as opened:
            return "progress" in (opened.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False
