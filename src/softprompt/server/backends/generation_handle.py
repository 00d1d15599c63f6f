"""A running generation, as an async iterator of its outputs; and the outputs of several generations in one iterator."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Sequence

from softprompt.engine import TokenOutput
from softprompt.server.request_errors import RequestError


class GenerationHandle(ABC):
    """A running generation. `async for output in handle` yields its outputs, up to the one with a finish reason.

    The generation runs whether or not its outputs are read. For one event loop and one reader.
    """

    def __init__(self) -> None:
        self._outputs: deque[TokenOutput | RequestError] = deque()
        self._has_new_output = asyncio.Event()
        self._is_exhausted = False

    @property
    @abstractmethod
    def cached_tokens(self) -> int:
        """Number of prompt tokens that were found in the prefix cache."""

    @abstractmethod
    def close(self) -> None:
        """Cancel the generation and free its slot. No-op if it has finished."""

    def push_output(self, output: TokenOutput | RequestError) -> None:
        """Add an output, or the error that ends the generation, which the iteration raises."""
        self._outputs.append(output)
        self._has_new_output.set()

    def __aiter__(self) -> AsyncIterator[TokenOutput]:
        return self

    async def __anext__(self) -> TokenOutput:
        if self._is_exhausted:
            raise StopAsyncIteration
        while not self._outputs:
            self._has_new_output.clear()
            await self._has_new_output.wait()
        return self._take_output()

    def _take_output(self) -> TokenOutput:
        output = self._outputs.popleft()
        self._is_exhausted = isinstance(output, RequestError) or output.finish_reason is not None
        if isinstance(output, RequestError):
            raise output
        return output


async def merge_outputs(handles: Sequence[GenerationHandle]) -> AsyncIterator[tuple[int, TokenOutput]]:
    """Yield the outputs of several generations as they arrive, each with the index of its generation.

    The generations share one event, so no generation needs a task to wait for it, and a step of the engine wakes the
    reader once.

    Raises:
        RequestError: a generation failed.
    """
    has_new_output = asyncio.Event()
    for handle in handles:
        handle._has_new_output = has_new_output
    running = dict(enumerate(handles))
    while running:
        has_new_output.clear()
        ready = [(index, handle) for index, handle in running.items() if handle._outputs]
        for index, handle in ready:
            output = handle._take_output()
            if handle._is_exhausted:
                del running[index]
            yield index, output
        if not ready:
            await has_new_output.wait()
