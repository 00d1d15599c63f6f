"""Limits on the requests to an API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RequestLimits:
    """The limits on the requests to an API.

    Attributes:
        max_attempts: number of attempts per request. The openai package waits between them, longer each time, or as
            long as the server asks for; above two minutes it gives up.
        timeout: seconds without data from the server after which an attempt fails.
        max_concurrency: largest number of concurrent requests.
    """

    max_attempts: int = 5
    timeout: float = 30.0
    max_concurrency: int = 4
