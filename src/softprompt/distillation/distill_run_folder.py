"""The run folder of a distillation, which also holds the teacher's targets and the report."""

from __future__ import annotations

from pathlib import Path

from softprompt.training.run_folder import RunFolder


class DistillRunFolder(RunFolder):
    """Folder of one distillation.

    Attributes:
        targets_file: The teacher's targets.
        report_file: The report.
        recovery_plot_file: The picture of the report.
        questions_file: Inputs that the model wrote about a document.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.targets_file = path / "teacher.safetensors"
        self.report_file = path / "report.json"
        self.recovery_plot_file = path / "recovery.png"
        self.questions_file = path / "questions.jsonl"

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that a run writes. Other files in the folder are left alone."""
        return (*super().files, self.targets_file, self.questions_file, self.report_file, self.recovery_plot_file)
