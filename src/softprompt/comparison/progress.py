"""What a comparison tells whoever watches it. Watching changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Is told how far a comparison is."""

    def begin(self, cells: int) -> None:
        """There are so many cells."""

    def way_began(self, name: str, title: str) -> None:
        """A way is run, or was before."""

    def heard(self, event: Mapping[str, Any]) -> None:
        """Its worker tells something: a cell began or ended, a training began, a step was made."""

    def way_ended(self, name: str, cells: int, error: str | None) -> None:
        """A way is finished, or failed; it had so many cells."""


class Quiet:
    """A progress that shows nothing."""

    def begin(self, cells: int) -> None:
        """Ignored."""

    def way_began(self, name: str, title: str) -> None:
        """Ignored."""

    def heard(self, event: Mapping[str, Any]) -> None:
        """Ignored."""

    def way_ended(self, name: str, cells: int, error: str | None) -> None:
        """Ignored."""
