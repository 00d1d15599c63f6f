"""Counts of requests to an API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ApiCounts:
    """Requests and tokens of an API so far.

    Attributes:
        requests: different texts that were answered.
        retries: repeated requests.
        unreadable: replies that name no label, or are empty.
        prompt_tokens: prompt tokens; None if the API does not report them.
        completion_tokens: completion tokens; None if the API does not report them.
    """

    requests: int
    retries: int
    unreadable: int
    prompt_tokens: int | None
    completion_tokens: int | None
