"""Stores the results of finished runs on disk, so that they are reused."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from softprompt.atomic import atomic_write_file
from softprompt.comparison.runs.run_plan import RunSpec
from softprompt.comparison.runs.run_result import FailedRun, MeasuredRun, PilotResult, RunResult, TrialResult
from softprompt.errors import translate_os_errors

AnyResult = TypeVar("AnyResult", bound=RunResult)


@dataclass(frozen=True)
class RunStore:
    """The stored results of one method's finished runs.

    Attributes:
        folder: folder with a JSON file for each run.
        cache_key: everything that the results depend on. Results with another key are ignored.
    """

    folder: Path
    cache_key: Mapping[str, Any] = field(default_factory=dict)

    def load_pilot(self, run: RunSpec) -> PilotResult | None:
        """Return the result of a finished pilot run, or None."""
        return _parse_result(PilotResult, self._load_content(run, None))

    def load_trial(self, run: RunSpec, params: Mapping[str, Any] | None = None) -> TrialResult | None:
        """Return the result of a finished trial, or None.

        Args:
            run: the trial.
            params: parameters that the result must have been stored with, such as the learning rate; None for any.
        """
        return _parse_result(TrialResult, self._load_content(run, params))

    def load_measurement(self, run: RunSpec, params: Mapping[str, Any] | None = None) -> MeasuredRun | FailedRun | None:
        """Return the result of a finished `seed`, `size` or `sweep` run, or None.

        Args:
            run: the run.
            params: parameters that the result must have been stored with, such as the learning rate; None for any.
        """
        content = self._load_content(run, params)
        if content is not None and "error" in content:
            return _parse_result(FailedRun, content)
        return _parse_result(MeasuredRun, content)

    def _load_content(self, run: RunSpec, params: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the result in the file of a run; None if the run is not finished, or has another key."""
        try:
            content = json.loads(self._get_run_path(run).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        is_current = content.get("key") == self._hash_run(run) and params in (None, content.get("given"))
        result: dict[str, Any] | None = content.get("found") if is_current else None
        return result

    def save_result(self, run: RunSpec, params: Mapping[str, Any], result: RunResult) -> None:
        """Store the result of a run.

        Args:
            run: the run.
            params: parameters of the run, such as the learning rate.
            result: result of the run.

        Raises:
            DiskFull: the disk is full.
        """
        content = {"cell": run.name, "key": self._hash_run(run), "given": params, "found": result.to_json_object()}
        with translate_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write_file(self._get_run_path(run), (json.dumps(content, ensure_ascii=False) + "\n").encode())

    def _get_run_path(self, run: RunSpec) -> Path:
        readable = re.sub(r"[^\w.=-]+", "-", run.name)[:80]
        return self.folder / f"{readable}-{_hash_text(run.name)[:8]}.json"

    def _hash_run(self, run: RunSpec) -> str:
        return _hash_text(json.dumps([run.name, self.cache_key], sort_keys=True, default=str))


def _parse_result(result_class: type[AnyResult], content: dict[str, Any] | None) -> AnyResult | None:
    """Return a result; None without one, or if a field is missing: the run is repeated."""
    with suppress(ValidationError):
        return None if content is None else result_class.model_validate(content)
    return None


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
