"""Responses are built off the event loop, and tenants take turns."""

from __future__ import annotations

import asyncio
import json
import threading

from softprompt.server.generation.response_builder import ResponseBuilder
from softprompt.server.schemas.completion_schemas import CompletionChoice, CompletionResponse

HOSTILE = 'a "choices":[] b'


def empty(model: str = HOSTILE) -> CompletionResponse:
    return CompletionResponse(id="cmpl-1", created=0, model=model, choices=[], system_fingerprint="fp")


def choice(index: int, text: str) -> CompletionChoice:
    return CompletionChoice(index=index, text=text, finish_reason="stop")


def test_a_response_built_choice_by_choice_equals_the_response_built_at_once() -> None:
    async def built() -> bytes:
        builder = ResponseBuilder()
        try:
            return bytes((await builder.build_response("acme", empty(), ["x", HOSTILE, "é"], choice)).body)
        finally:
            builder.close()

    choices = [choice(index, text) for index, text in enumerate(["x", HOSTILE, "é"])]
    whole = empty().model_copy(update={"choices": choices})
    assert json.loads(asyncio.run(built())) == json.loads(whole.model_dump_json())


def test_a_small_response_overtakes_a_large_response_off_the_event_loop() -> None:
    order, threads = list[str](), set[str]()

    def build(_: int, name: str) -> CompletionChoice:
        order.append(name)
        threads.add(threading.current_thread().name)
        return choice(0, name)

    async def test() -> None:
        builder = ResponseBuilder()
        much = asyncio.create_task(builder.build_response("much", empty(), ["much"] * 100, build))
        while len(order) < 10:
            await asyncio.sleep(0)
        await builder.build_response("little", empty(), ["little"], build)
        assert not much.done()
        await much
        builder.close()

    asyncio.run(test())
    assert all(name.startswith("answers") for name in threads)
    assert len(order) == 101
