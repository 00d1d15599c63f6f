"""How hard an API is pressed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a comparison may ask of an API.

    Attributes:
        tries: of one request. The openai package waits between them, longer each time, or as long as the server wants;
            where that is more than two minutes it gives up.
        timeout: seconds without a word from the server after which a try has failed.
        at_once: how many requests are under way at most.
    """

    tries: int = 5
    timeout: float = 30.0
    at_once: int = 4
