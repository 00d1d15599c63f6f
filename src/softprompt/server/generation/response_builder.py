"""Building and serialization of responses with log-probabilities, in a thread of its own.

128 choices with twenty alternatives per token are millions of JSON values. Building them on the event loop would block
all other streams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from fastapi import Response
from pydantic import BaseModel

from softprompt.server.concurrency.fair_executor import FairExecutor
from softprompt.server.concurrency.python_time_budget import PythonTimeBudget

T = TypeVar("T")

EMPTY_CHOICES = b'"choices":[]'  # occurs once: quotes in texts are escaped


class ResponseBuilder:
    """A builder of responses with a thread of its own, in which tenants take turns after each choice.

    Args:
        max_jobs: maximum jobs that wait, half of them of one tenant.
        time_budget: budget that the jobs are charged to; None for no budget.
    """

    def __init__(self, max_jobs: int = 2**20, time_budget: PythonTimeBudget | None = None):
        self._executor = FairExecutor("answers", max_jobs, time_budget)

    async def build_response(
        self, tenant: str, base_response: BaseModel, outputs: Sequence[T], build_choice: Callable[[int, T], BaseModel]
    ) -> Response:
        """Build a response.

        Args:
            tenant: tenant of the request.
            base_response: the response with an empty list of choices.
            outputs: outputs that become the choices.
            build_choice: builds the choice of an index and an output.

        Raises:
            QueueFull: too many jobs are waiting.
        """
        choices = [
            await self._executor.run_in_thread(tenant, partial(_serialize_choice, build_choice, index, output))
            for index, output in enumerate(outputs)
        ]
        content = await self._executor.run_in_thread(tenant, partial(_insert_choices, base_response, choices))
        return Response(content, media_type="application/json")

    def close(self) -> None:
        """Stop the thread."""
        self._executor.close()


def _serialize_choice(build_choice: Callable[[int, T], BaseModel], index: int, output: T) -> bytes:
    return build_choice(index, output).model_dump_json().encode()


def _insert_choices(base_response: BaseModel, choices: Sequence[bytes]) -> bytes:
    return (
        base_response.model_dump_json().encode().replace(EMPTY_CHOICES, b'"choices":[' + b",".join(choices) + b"]", 1)
    )
