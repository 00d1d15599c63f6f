"""Run the cells of one way: try rates on the validation examples, then measure with the best, once a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, runtime_checkable

from softprompt.comparison.bench import Bench
from softprompt.comparison.cells import Cell, Cells, planned
from softprompt.comparison.drawing import drawn
from softprompt.comparison.failing import reason
from softprompt.comparison.memory import forget_peak, peak_bytes
from softprompt.comparison.settings import MULTIPLES
from softprompt.comparison.way import Course, Fitted, Trial, Way
from softprompt.errors import DiskFull, SoftPromptError, TaskError, TrainingDiverged, is_out_of_memory
from softprompt.training import Watcher
from softprompt.training.watching import Unwatched

SERVED_TASKS = (1, 50)
PILOT_STEPS = 4


@runtime_checkable
class CellWatcher(Watcher, Protocol):
    """A watcher of trainings that is told of cells as well."""

    def cell_began(self, cell: str) -> None:
        """A cell is run."""

    def cell_ended(self, cell: str) -> None:
        """It is finished, or was before."""


class Unheard(Unwatched):
    """A watcher that is told of cells too, and shows nothing."""

    def cell_began(self, cell: str) -> None:
        """Ignored."""

    def cell_ended(self, cell: str) -> None:
        """Ignored."""


@dataclass(frozen=True)
class WayRun:
    """A way on a bench.

    Attributes:
        bench: what it shares with the others.
        name: the way's, as it was typed.
        way: the way.
        steps: updates of each training.
        cells: what is finished.
        watcher: is told what goes on.
    """

    bench: Bench
    name: str
    way: Way
    steps: int
    cells: Cells
    watcher: CellWatcher

    def run(self) -> None:
        """Run what is not finished.

        Raises:
            SoftPromptError: the way cannot be had here.
        """
        plan = planned(self.bench.settings, self.name, self.way)
        trials, others = _parted(plan)
        rate, fitted = self._searched(trials)
        for cell in others:
            self._measured(cell, rate, fitted if cell.purpose == "seed" and cell.seed == 0 else None)
            fitted = None if cell.seed == 0 else fitted  # its memory is wanted

    def is_finished(self) -> bool:
        """Whether there is nothing left to run."""
        plan = planned(self.bench.settings, self.name, self.way)
        trials, others = _parted(plan)
        found = [self.cells.find(cell) for cell in trials]
        best = _Best()
        for each in found:
            if each is not None and each["metrics"] is not None:
                best.offer(self._quality(each["metrics"]), each["rate"], None)
        return None not in found and all(self.cells.find(cell, {"rate": best.rate}) for cell in others)

    def pilot(self) -> float:
        """Seconds that an update takes, from a few of them."""
        cell = Cell(self.name, "pilot")
        found = self.cells.find(cell)
        if found is None:
            few = replace(self.bench, validation=self.bench.validation[:PILOT_STEPS])
            course = self.way.fit(few, Trial(self.bench.training, steps=PILOT_STEPS), self.watcher).course
            if course is None:
                raise TaskError(f"{self.name} says that it learns, and gives no course of it")
            found = {"seconds": course.seconds / PILOT_STEPS}
            self.cells.put(cell, {}, found)
        seconds: float = found["seconds"]
        return seconds

    def _searched(self, trials: Sequence[Cell]) -> tuple[float | None, Fitted | None]:
        """The best of the rates, and what was fitted with it if that was just now."""
        base, best = self.way.rate(self.bench), _Best()
        for cell in trials:
            rate = base * MULTIPLES[cell.number]
            found, fitted = self._tried(cell, rate)
            if found["metrics"] is not None:
                best.offer(self._quality(found["metrics"]), rate, fitted)
            del fitted  # a model that is not the best must not stand beside the next
        if trials and best.rate is None:
            raise TrainingDiverged(f"the loss was not a number at any of {len(trials)} rates around {base:.2g}")
        return best.rate, best.fitted

    def _tried(self, cell: Cell, rate: float) -> tuple[dict[str, Any], Fitted | None]:
        given = {"rate": rate}
        found, fitted = self.cells.find(cell, given), None
        if found is None:
            self.watcher.cell_began(cell.name)
            try:
                fitted = self._fitted(cell, rate)
                found = {"rate": rate, **_told(fitted.course), "peak_memory_bytes": self._peak()}
            except TrainingDiverged as error:
                found = {"rate": rate, "metrics": None, "error": str(error)}
            self.cells.put(cell, given, found)
        self.watcher.cell_ended(cell.name)
        return found, fitted

    def _measured(self, cell: Cell, rate: float | None, fitted: Fitted | None) -> None:
        given = {"rate": rate}
        if self.cells.find(cell, given) is None:
            self.watcher.cell_began(cell.name)
            self.cells.put(cell, given, {"rate": rate, **self._found(cell, rate, fitted)})
        self.watcher.cell_ended(cell.name)

    def _found(self, cell: Cell, rate: float | None, fitted: Fitted | None) -> dict[str, Any]:
        """What a cell finds.

        Where a size or a value of a sweep cannot be had, or a later seed diverges, there is still the way itself.
        """
        try:
            fitted = fitted or self._fitted(cell, rate)
            return {"peak_memory_bytes": self._peak(), **self._figures(cell, fitted)}
        except DiskFull:
            raise
        except (SoftPromptError, MemoryError, RuntimeError) as error:
            diverged_later = isinstance(error, TrainingDiverged) and cell.seed > 0
            known = isinstance(error, SoftPromptError) or is_out_of_memory(error)
            if not known or (cell.purpose == "seed" and not diverged_later):
                raise
            return {"error": reason(error)}

    def _fitted(self, cell: Cell, rate: float | None) -> Fitted:
        examples = self.bench.training
        if cell.purpose == "size":
            examples = drawn(examples, cell.number, cell.seed, self.bench.task)
        options = dict([cell.option]) if cell.option else {}
        if self.way.runs_here:  # else the base model is not even loaded
            forget_peak(self.bench.model.device)
        return self.way.fit(self.bench, Trial(examples, cell.seed, self.steps, rate, options), self.watcher)

    def _figures(self, cell: Cell, fitted: Fitted) -> dict[str, Any]:
        """What the report is made of; what costs time and does not depend on the seed is measured at seed 0 alone."""
        measured = fitted.measured(self.bench.test)
        asked = min(len(self.bench.test), fitted.most or len(self.bench.test))
        if len(measured.scores) != asked:
            raise TaskError(f"{self.name} gives {len(measured.scores)} scores for {asked} test examples")
        found = {
            **asdict(measured),
            "trained_parameters": fitted.trained_parameters,
            "stored_bytes": fitted.stored_bytes,
            "removable": fitted.removable,
            "course": _told(fitted.course),
        }
        if cell.purpose == "seed":
            found |= self._asides(cell, fitted)
        return {**found, "calls": fitted.calls}  # last: whoever is asked for money was asked for all of it by now

    def _asides(self, cell: Cell, fitted: Fitted) -> dict[str, Any]:
        """What stands beside the figures of a seed."""
        bench = self.bench
        found: dict[str, Any] = {}
        if bench.elsewhere is not None:
            found["elsewhere"] = fitted.measured(bench.elsewhere).metrics
        if cell.seed == 0:
            served = {str(tasks): fitted.served(bench.test, tasks) for tasks in SERVED_TASKS}
            found["serving"] = {tasks: each and asdict(each) for tasks, each in served.items()}
            found["neutral_loss"] = fitted.neutral_loss(bench.neutral)
        return found

    def _peak(self) -> int | None:
        """The most memory since `_fitted` began; of what runs elsewhere there is none to tell."""
        return peak_bytes(self.bench.model.device) if self.way.runs_here else None

    def _quality(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        return self.bench.objective.quality(metrics)


@dataclass
class _Best:
    """The best offer so far; of what was fitted only its own is kept, since each may hold a model."""

    quality: tuple[float, ...] | None = None
    rate: float | None = None
    fitted: Fitted | None = None

    def offer(self, quality: tuple[float, ...], rate: float, fitted: Fitted | None) -> None:
        if self.quality is None or quality > self.quality:
            self.quality, self.rate, self.fitted = quality, rate, fitted


def _parted(plan: Sequence[Cell]) -> tuple[list[Cell], list[Cell]]:
    return [cell for cell in plan if cell.purpose == "trial"], [cell for cell in plan if cell.purpose != "trial"]


def _told(course: Course | None) -> Mapping[str, Any]:
    if course is None:
        return {}
    best = {} if course.best is None else {name: value for name, value in course.best.items() if name != "step"}
    return {
        "metrics": best or None,
        "seconds": course.seconds,
        "useful_tokens_per_second": course.useful_tokens_per_second,
        "curve": [dict(each) for each in course.evaluations],
    }
