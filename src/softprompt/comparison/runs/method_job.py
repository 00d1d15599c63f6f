"""The job of a worker process, which crosses the process boundary as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from softprompt.comparison.experiment.compare_settings import CompareSettings


class MethodJob(BaseModel):
    """The runs of one method in one process.

    Attributes:
        settings: settings of the comparison.
        method: name of the method.
        steps: number of steps of each training run.
        is_pilot: whether to measure the seconds per step, instead of executing the missing runs.
        data_digests: digest and number of examples of each split, and of the text in front of the inputs, to notice
            that they have changed.
        run_folder: folder with the files of finished runs.
        cache_key: everything that the results of the runs depend on.
    """

    model_config = ConfigDict(frozen=True)

    settings: CompareSettings
    method: str
    steps: int
    is_pilot: bool
    data_digests: dict[str, tuple[str, int]]
    run_folder: Path
    cache_key: dict[str, Any]
