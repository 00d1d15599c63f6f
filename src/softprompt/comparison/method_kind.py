"""The kinds of adaptation methods, which methods and reports share."""

from __future__ import annotations

from enum import StrEnum


class MethodKind(StrEnum):
    """What a method changes."""

    PROMPTING = "prompting"
    SOFT_PROMPT = "soft prompt"
    WEIGHTS = "weights"
    API = "api"

    @property
    def is_trained(self) -> bool:
        """Whether methods of this kind train parameters."""
        return self in (MethodKind.SOFT_PROMPT, MethodKind.WEIGHTS)
