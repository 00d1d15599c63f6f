"""The whole comparison: run each way, and make the report of what was finished."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from softprompt.comparison.apart import run_apart
from softprompt.comparison.bench import Bench
from softprompt.comparison.cells import Cell, Cells, planned, trainings
from softprompt.comparison.facts import data_of, facts_of
from softprompt.comparison.folder import check_folder
from softprompt.comparison.framing import framed
from softprompt.comparison.local import neutral_loss
from softprompt.comparison.progress import Progress, Quiet
from softprompt.comparison.report import recommend, write_report
from softprompt.comparison.running import Unheard, WayRun
from softprompt.comparison.settings import CompareSettings
from softprompt.comparison.summary import compared, first_metrics, scores_of, summarised
from softprompt.comparison.way import Kind, Way
from softprompt.comparison.ways import way_named
from softprompt.errors import SettingError, disk_errors
from softprompt.parameters import replace_parameters
from softprompt.tasks import ClassificationTask
from softprompt.training.processes import check_alone

#: Settings of a soft prompt or its training that may be swept. The others are what ways share, or their budget.
SWEPT = (
    "virtual_tokens", "init", "encoder", "encoder_hidden", "placement", "freeze_sink", "layers", "head",
    "batch_size", "accumulate", "warmup", "weight_decay", "clip",
)  # fmt: skip


def compare(*, progress: Progress | None = None, **settings: Any) -> dict[str, Any]:
    """Compare ways to adapt a model, write the report, and give it: `run` for Python.

    The settings are those of `CompareSettings`; `data`, `test` and `output` are needed.
    """
    return run(CompareSettings.of(settings), progress)


def run(
    settings: CompareSettings, progress: Progress | None = None, command: Sequence[str] | None = None
) -> dict[str, Any]:
    """Run every way that the settings name, write the report, and give it.

    Finished cells are in `OUTPUT/cells` and are not run again; what one way cannot do does not keep the others from it.

    Args:
        settings: everything the comparison depends on.
        progress: is told how far it is.
        command: what was typed, to be shown in the report.

    Raises:
        SettingError: an unknown way, or a setting that cannot be.
        DataError: the data cannot be read, or the test set is among them.
        OutputExists: the folder holds something else.
    """
    check_alone("a comparison")
    return Comparison.of(settings, progress or Quiet()).run(command or ["softprompt.compare"])


@dataclass(frozen=True)
class Comparison:
    """Ways on a bench.

    Attributes:
        bench: what they share.
        ways: by their names as they were typed.
        progress: is told how far it is.
    """

    bench: Bench
    ways: Mapping[str, Way]
    progress: Progress

    @classmethod
    def of(cls, settings: CompareSettings, progress: Progress) -> Comparison:
        """Check everything that can be checked before anything is run.

        Raises:
            SoftPromptError: as `compare`.
        """
        if twice := [name for name in settings.ways if settings.ways.count(name) > 1]:
            raise SettingError(f"`ways` names {twice[0]} twice: once is enough")
        ways = {name: way_named(name) for name in settings.ways}
        _check_sweep(settings, ways)
        check_folder(settings.output)
        bench = Bench.of(settings)
        bench.check()
        return cls(bench, ways, progress)

    def run(self, command: Sequence[str]) -> dict[str, Any]:
        """Run what is not finished, and make the report."""
        started, settings = time.monotonic(), self.bench.settings
        resumed = any((settings.output / "cells").glob("*.json"))
        with disk_errors(settings.output):
            for name in ("cells", "logs"):  # by its cells a folder is known as a comparison's, also before the first
                (settings.output / name).mkdir(parents=True, exist_ok=True)
        steps, errors = self._steps()
        self.progress.begin(sum(len(planned(settings, name, way)) for name, way in self.ways.items()))
        for name, way in self.ways.items():
            self.progress.way_began(name, way.title)
            error = errors.get(name) or self._run(name, steps[name])
            if error is not None:
                errors[name] = error
            self.progress.way_ended(name, len(planned(settings, name, way)), error)
        report = self._report(command, steps, errors, None if resumed else (time.monotonic() - started) / 60)
        report["recommendation"] = recommend(report)
        write_report(report, settings.output)
        return report

    def _run(self, name: str, steps: int) -> str | None:
        if self._way_run(name, steps).is_finished():
            return None
        error = self._apart(name, steps, pilot=False)
        if error is None and not self._way_run(name, steps).is_finished():
            return "its process ended before everything was run"
        return error

    def _apart(self, name: str, steps: int, *, pilot: bool) -> str | None:
        settings = self.bench.settings
        job = {
            "settings": settings.model_dump(mode="json"),
            "way": name,
            "steps": steps,
            "pilot": pilot,
            "data": data_of(self.bench),
            "folder": str(settings.output / "cells"),
            "facts": self._facts(name, steps),
        }
        return run_apart(job, settings.output / "logs" / f"{name.replace('/', '-')}.log", self.progress.heard)

    def _steps(self) -> tuple[dict[str, int], dict[str, str]]:
        """How many updates each way's trainings have, and of which ways that cannot be told, with the reason.

        The same number for all, or what fits in the same time.
        """
        settings = self.bench.settings
        if settings.budget_minutes is None:
            return dict.fromkeys(self.ways, settings.steps), {}
        learning = [name for name, way in self.ways.items() if way.learns]
        runs = sum(trainings(planned(settings, name, self.ways[name])) for name in learning)
        share = 60 * settings.budget_minutes / max(1, runs)
        steps, errors = dict.fromkeys(self.ways, 1), {}
        for name in learning:
            self.progress.way_began(name, f"{self.ways[name].title}: how long an update takes")
            error = self._apart(name, 0, pilot=True)
            if error is None:
                steps[name] = max(1, int(share / self._way_run(name, 0).pilot()))
            else:
                errors[name] = error
        return steps, errors

    def _way_run(self, name: str, steps: int) -> WayRun:
        cells = Cells(self.bench.settings.output / "cells", self._facts(name, steps))
        return WayRun(self.bench, name, self.ways[name], steps, cells, Unheard())

    def _facts(self, name: str, steps: int) -> dict[str, Any]:
        return facts_of(self.bench, self.ways[name], steps)

    def _report(
        self, command: Sequence[str], steps: Mapping[str, int], errors: Mapping[str, str], minutes: float | None
    ) -> dict[str, Any]:
        settings = self.bench.settings
        before = self._bare_loss()
        plans = {name: planned(settings, name, way) for name, way in self.ways.items()}
        cells = {name: self._way_run(name, steps[name]).cells for name in self.ways}
        finished = [name for name in self.ways if name not in errors or _has_seeds(plans[name], cells[name])]
        versus = compared({name: scores_of(plans[name], cells[name]) for name in self._comparable(finished)})
        entries: dict[str, Any] = {}
        for name, way in self.ways.items():
            if name not in finished:
                entries[name] = {"title": way.title, "kind": str(way.kind), "error": errors[name]}
                continue
            summary = summarised(way, plans[name], cells[name], self.bench, before, errors.get(name))
            entries[name] = {**summary, "steps": steps[name] if way.learns else 0, "versus": versus.get(name, {})}
        return {**framed(self.bench, command, minutes, self._metric(finished, plans, cells)), "ways": entries}

    def _comparable(self, finished: Sequence[str]) -> list[str]:
        """The ways whose scores are of one kind: of a response an API tells no probability, and is scored otherwise."""
        chooses = isinstance(self.bench.task, ClassificationTask)
        return [name for name in finished if chooses or self.ways[name].runs_here]

    def _metric(self, finished: Sequence[str], plans: Any, cells: Any) -> str:
        """The headline: the first figure that the first way measures; an API's last, since it has no probabilities."""
        names = sorted(finished, key=lambda name: not self.ways[name].runs_here)
        return next(iter(first_metrics(plans[names[0]], cells[names[0]]))) if names else "accuracy"

    def _bare_loss(self) -> float | None:
        return neutral_loss(self.bench.model, None, self.bench.neutral)


def _has_seeds(plan: Sequence[Cell], cells: Cells) -> bool:
    """Whether a way was measured with every seed, whatever became of its sizes and sweeps."""
    return all(cells.find(cell) for cell in plan if cell.purpose == "seed")


def _check_sweep(settings: CompareSettings, ways: Mapping[str, Way]) -> None:
    if settings.sweep and not any(way.kind is Kind.SOFT_PROMPT for way in ways.values()):
        raise SettingError("`sweep` varies a setting of soft prompts, and `ways` names none")
    for name, values in settings.sweep.items():
        if name.replace("-", "_") not in SWEPT:
            raise SettingError(f"`sweep` cannot vary {name!r}: one of {', '.join(SWEPT)}")
        for value in values:
            _check_swept(settings, name.replace("-", "_"), value)


def _check_swept(settings: CompareSettings, name: str, value: str) -> None:
    try:
        settings.tuning(**{name: value})
    except SettingError as error:
        problem = replace_parameters(str(error), lambda name, value: f"`sweep={{{name!r}: [{value}]}}`")
        raise SettingError(problem) from error
