"""The cells of a comparison: one fitting of one way each. A finished one is on the disk, and is never run again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from softprompt.comparison.settings import CompareSettings
from softprompt.comparison.way import Kind, Way
from softprompt.errors import disk_errors
from softprompt.saved.folders import write_file


@dataclass(frozen=True)
class Cell:
    """One fitting.

    Attributes:
        way: the way's name.
        purpose: `pilot` (how long a step takes), `trial` (of a rate, measured on validation alone), `seed` (measured on
            the test set), `size` or `sweep` (the same, of fewer examples or with another setting).
        seed: of everything random.
        number: which trial, or how many examples.
        option: the setting that a sweep varies, and its value.
    """

    way: str
    purpose: str
    seed: int = 0
    number: int = 0
    option: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        """What tells it from every other cell."""
        parts = [self.way, self.purpose, *map(str, self.option or ()), str(self.number), str(self.seed)]
        return "/".join(parts)


@dataclass(frozen=True)
class Cells:
    """The finished cells of one way, as files of a folder.

    Attributes:
        folder: where they are.
        facts: what all of them depend on; a cell that was run with other facts is not finished.
    """

    folder: Path
    facts: Mapping[str, Any] = field(default_factory=dict)

    def find(self, cell: Cell, given: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """What a finished cell found, or None; `given` is what it must have been run with, as its rate."""
        try:
            kept = json.loads(self._path(cell).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        is_same = kept.get("key") == self._key(cell) and (given is None or kept.get("given") == given)
        found: dict[str, Any] | None = kept.get("found") if is_same else None
        return found

    def put(self, cell: Cell, given: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Keep what a cell found.

        Raises:
            DiskFull: there is no room for it.
        """
        content = {"cell": cell.name, "key": self._key(cell), "given": given, "found": found}
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_file(self._path(cell), (json.dumps(content, ensure_ascii=False) + "\n").encode())

    def _path(self, cell: Cell) -> Path:
        readable = re.sub(r"[^\w.=-]+", "-", cell.name)[:80]
        return self.folder / f"{readable}-{_hashed(cell.name)[:8]}.json"

    def _key(self, cell: Cell) -> str:
        return _hashed(json.dumps([cell.name, self.facts], sort_keys=True, default=str))


def planned(settings: CompareSettings, name: str, way: Way) -> list[Cell]:
    """The cells of a way, in the order in which they are run.

    Rates are tried at seed 0, and seed 0 goes on with the best of them: those two are one training.
    """
    seeds = range(settings.seeds if way.repeats else 1)
    trials = [Cell(name, "trial", number=number) for number in range(settings.trials)] if way.learns else []
    whole = [Cell(name, "seed", seed) for seed in seeds]
    sizes = [Cell(name, "size", seed, size) for size in settings.sizes for seed in seeds] if way.repeats else []
    swept = [
        Cell(name, "sweep", seed, option=(option, value))
        for option, values in settings.sweep.items()
        for value in values
        for seed in seeds
    ]
    return [*trials, *whole, *sizes, *(swept if way.kind is Kind.SOFT_PROMPT else [])]


def trainings(cells: Sequence[Cell]) -> int:
    """How many trainings cells are: seed 0 goes on with what a trial trained."""
    return sum(cell.purpose != "seed" or cell.seed > 0 for cell in cells)


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
