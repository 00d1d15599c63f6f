"""Outputs of generations as they come: each reader gets all of them, in order, and the error that ends one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from softprompt.engine import FinishReason, TokenOutput
from softprompt.server.backends.generation_handle import GenerationHandle, merge_outputs
from softprompt.server.request_errors import InferenceFailed


class ManualHandle(GenerationHandle):
    """A generation whose outputs a test pushes."""

    cached_tokens = 0

    def close(self) -> None:
        pass


def token(token_id: int, finish_reason: FinishReason | None = None) -> TokenOutput:
    return TokenOutput(token_id, "", finish_reason)


def test_a_handle_yields_outputs_up_to_the_last_one() -> None:
    async def test() -> None:
        handle = ManualHandle()
        handle.push_output(token(1))
        reader = asyncio.create_task(_list_ids(handle))
        await asyncio.sleep(0)
        assert not reader.done()
        handle.push_output(token(2, FinishReason.STOP))
        assert await reader == [1, 2]
        assert await _list_ids(handle) == []

    asyncio.run(test())


def test_an_error_is_raised_after_the_outputs_that_precede_it() -> None:
    async def test() -> None:
        handle = ManualHandle()
        handle.push_output(token(1))
        handle.push_output(InferenceFailed())
        assert (await anext(handle)).token_id == 1
        with pytest.raises(InferenceFailed):
            await anext(handle)
        with pytest.raises(StopAsyncIteration):
            await anext(handle)

    asyncio.run(test())


def test_merged_outputs_are_yielded_in_order_of_arrival() -> None:
    async def test() -> None:
        first, second = ManualHandle(), ManualHandle()
        merged = merge_outputs([first, second])
        second.push_output(token(20))
        assert await anext(merged) == (1, token(20))
        reader = asyncio.create_task(anext(merged))
        await asyncio.sleep(0)
        assert not reader.done()
        first.push_output(token(10, FinishReason.STOP))
        second.push_output(token(21))
        assert await reader == (0, token(10, FinishReason.STOP))
        second.push_output(token(22, FinishReason.LENGTH))
        assert [output async for output in merged] == [(1, token(21)), (1, token(22, FinishReason.LENGTH))]

    asyncio.run(test())


def test_an_output_that_arrives_while_others_are_read_is_not_lost() -> None:
    async def test() -> None:
        first, second = ManualHandle(), ManualHandle()
        first.push_output(token(1))
        second.push_output(token(2, FinishReason.STOP))
        ids = []
        async for _, output in merge_outputs([first, second]):
            ids.append(output.token_id)
            if output.token_id == 1:
                first.push_output(token(3, FinishReason.STOP))
        assert ids == [1, 2, 3]

    asyncio.run(test())


def test_an_error_of_one_generation_ends_the_merged_outputs() -> None:
    async def test() -> None:
        handles = [ManualHandle(), ManualHandle()]
        handles[0].push_output(token(1))
        handles[1].push_output(InferenceFailed())
        merged = merge_outputs(handles)
        assert await anext(merged) == (0, token(1))
        with pytest.raises(InferenceFailed):
            await anext(merged)

    asyncio.run(test())


async def _list_ids(outputs: AsyncIterator[TokenOutput]) -> list[int | None]:
    return [output.token_id async for output in outputs]
