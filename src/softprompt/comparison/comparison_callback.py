"""Callbacks that receive the progress of a comparison. Callbacks do not influence the results."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from softprompt.comparison.runs.run_events import RunEvent


@runtime_checkable
class ComparisonCallback(Protocol):
    """A receiver of a comparison's progress."""

    def on_comparison_begin(self, num_runs: int) -> None:
        """Handle the beginning of the comparison, with the number of planned runs of all methods."""

    def on_method_begin(self, name: str, title: str) -> None:
        """Handle the beginning of a method's runs, also if all of them are finished."""

    def on_event(self, event: RunEvent) -> None:
        """Handle an event of the runs of the method."""

    def on_method_end(self, name: str, num_runs: int, error: str | None) -> None:
        """Handle the end of a method's runs.

        Args:
            name: name of the method.
            num_runs: number of planned runs of the method.
            error: why the method failed, or None.
        """


class NullComparisonCallback:
    """A callback that ignores everything."""

    def on_comparison_begin(self, num_runs: int) -> None:
        """Ignore the event."""

    def on_method_begin(self, name: str, title: str) -> None:
        """Ignore the event."""

    def on_event(self, event: RunEvent) -> None:
        """Ignore the event."""

    def on_method_end(self, name: str, num_runs: int, error: str | None) -> None:
        """Ignore the event."""
