"""Answers that tell how probable tokens were: built and written beside the event loop, response by response.

Those of 128 responses with twenty alternatives at each token are millions of texts and numbers in JSON. Built on the
event loop, they would keep everybody else's stream from going on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from fastapi import Response
from pydantic import BaseModel

from softprompt.server.fair_thread import FairThread

T = TypeVar("T")

NO_CHOICES = b'"choices":[]'  # quotes within a text are escaped, so it stands in an answer once


class AnswerBuilder:
    """Builds answers in a thread of its own, in which tenants take turns after each response."""

    def __init__(self, most_jobs: int = 2**20):
        self._thread = FairThread("answers", most_jobs)

    async def build_response(
        self, tenant: str, answer: BaseModel, responses: Sequence[T], build: Callable[[int, T], BaseModel]
    ) -> Response:
        """Build an answer.

        Args:
            tenant: whose it is.
            answer: all of it but its choices, of which it has none.
            responses: of which the choices are made.
            build: makes a choice of a response and its index.

        Raises:
            Busy: too many wait.
        """
        choices = [
            await self._thread.do(tenant, partial(_build_json, build, index, response))
            for index, response in enumerate(responses)
        ]
        whole = await self._thread.do(tenant, partial(_join, answer, choices))
        return Response(whole, media_type="application/json")

    def close(self) -> None:
        """End the thread."""
        self._thread.close()


def _build_json(build: Callable[[int, T], BaseModel], index: int, response: T) -> bytes:
    return build(index, response).model_dump_json().encode()


def _join(answer: BaseModel, choices: Sequence[bytes]) -> bytes:
    return answer.model_dump_json().encode().replace(NO_CHOICES, b'"choices":[' + b",".join(choices) + b"]", 1)
