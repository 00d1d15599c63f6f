"""What a report found, as the questions that its recommendation, its plots and its page ask. It writes no words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

#: The verdicts of a paired test, as the report has them.
BETTER, WORSE, NOT_SHOWN = "better", "worse", "no difference shown"

#: Of more ways than these not all have their names in a plot, and a column of their own in a table.
MOST_NAMED = 12

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """A report, read.

    Attributes:
        report: what was measured, with nothing in it that is not a number where a number belongs (`finite`).
    """

    report: Facts

    @property
    def metric(self) -> str:
        """The headline figure of merit."""
        return str(self.report["metric"])

    @property
    def ways(self) -> Facts:
        """All ways by name, as the user ordered them."""
        found: Facts = self.report["ways"]
        return found

    @cached_property
    def judged(self) -> list[str]:
        """The ways that did not fail and have a headline figure."""
        return [name for name, way in self.ways.items() if "error" not in way and self._measured(way) is not None]

    @property
    def failed(self) -> list[str]:
        """The ways that failed, or whose headline figure is no number."""
        measured = {name for name, way in self.ways.items() if "error" not in way and self.figures(name)}
        return [
            name
            for name in self.ways
            if name not in self.judged and (self.metric in self.ways[name] or name not in measured)
        ]

    @property
    def apart(self) -> list[str]:
        """The ways that were measured, but not by the headline figure: an API tells no probabilities."""
        return [name for name in self.ways if name not in self.judged and name not in self.failed]

    def figures(self, name: str) -> dict[str, float]:
        """All figures of merit of a way, in the mean."""
        found = {figure: each["mean"] for figure, each in self.ways[name].items() if _is_figure(each)}
        return {figure: float(mean) for figure, mean in found.items() if mean is not None}

    @property
    def left_out(self) -> dict[str, list[str]]:
        """What could not be had of ways that were measured all the same, by the reason why."""
        by_reason: dict[str, list[str]] = {}
        for way in self.ways.values():
            for cell, why in (way.get("left_out") or {}).items():
                by_reason.setdefault(str(why), []).append(cell)
        return by_reason

    @property
    def seeds(self) -> int:
        """How often each way was trained."""
        return len(self.report["budget"]["seeds"])

    def _measured(self, way: Facts) -> Any:
        return (way.get(self.metric) or {}).get("mean")

    def title(self, name: str) -> str:
        """A way as the report names it."""
        return str(self.ways[name]["title"]).strip()

    def score(self, name: str) -> Facts:
        """The headline figure of a way: its mean, spread, worst and seeds."""
        found: Facts = self.ways[name][self.metric]
        return found

    def mean(self, name: str) -> float:
        """The mean of the headline figure of a way."""
        return float(self.score(name)["mean"])

    def gain(self, value: int | float) -> float:
        """A headline figure as something that is larger where it is better."""
        return float(value if self.report["larger_is_better"] else -value)

    def versus(self, one: str, other: str) -> Facts:
        """The paired test of a way against another; empty where there was none."""
        return (self.ways[one].get("versus") or {}).get(other) or {}

    def is_better(self, one: str, other: str) -> bool:
        """Whether the test shows a way to be better than another."""
        return BETTER in (self.versus(one, other).get("verdict"), _mirrored(self.versus(other, one).get("verdict")))

    @cached_property
    def best(self) -> str:
        """The way with the best mean; the first named of equals."""
        return max(self.judged, key=lambda name: self.gain(self.mean(name)))

    @cached_property
    def baseline(self) -> str | None:
        """The way to beat by training: the hard prompt, or else the first that only prompts."""
        prompting = [name for name in self.judged if self.ways[name]["kind"] == "prompting"]
        return "hard" if "hard" in prompting else next(iter(prompting), None)

    @cached_property
    def equals(self) -> list[str]:
        """The best way, and those that the test does not tell from it or puts before it."""
        verdicts = {name: self.versus(self.best, name).get("verdict") for name in self.judged}
        return [name for name in self.judged if name == self.best or verdicts[name] in (NOT_SHOWN, WORSE)]

    @cached_property
    def foremost(self) -> list[str]:
        """The judged ways that plots and wide tables name where there are many, as the user ordered them.

        The recommended way, the best, the one to beat, and then those with the best means.
        """
        recommended = (self.report.get("recommendation") or {}).get("way")
        by_mean = sorted(self.judged, key=lambda name: -self.gain(self.mean(name)))
        first = [name for name in (recommended, self.baseline, *by_mean) if name in self.judged]
        chosen = set(list(dict.fromkeys(first))[:MOST_NAMED])
        return [name for name in self.judged if name in chosen]

    def rows_per_second(self, name: str, tasks: int) -> float | None:
        """How fast a way answers with so many tasks served at once."""
        served = (self.ways[name].get("serving") or {}).get(str(tasks)) or {}
        rows = served.get("rows_per_second")
        return None if rows is None else float(rows)


def finite(value: Any) -> Any:
    """A report with null for whatever is not a number, which JSON cannot say and nobody can draw."""
    if isinstance(value, Mapping):
        return {str(name): finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_figure(value: Any) -> bool:
    return isinstance(value, Mapping) and {"mean", "seeds"} <= value.keys()


def _mirrored(verdict: str | None) -> str | None:
    return {BETTER: WORSE, WORSE: BETTER}.get(verdict or "", verdict)
