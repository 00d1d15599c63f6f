"""A server that speaks vLLM's completions protocol as softprompt's plugin leaves it, around an engine of our own.

It is what stands in for vLLM where there is none. It takes the fields that a gateway sends and no others, knows prompts
by their hash in the store's folder, and can be told to hold its streams, and to die.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from softprompt.engine import Engine, EngineRequest, FinishReason, SamplingParams, TokenOutput
from softprompt.model import FrozenModel, Payload
from softprompt.sampling.grammar import CompiledGrammar, GuidanceCompiler
from softprompt.saved import SavedPrompt
from softprompt.server.backends.engine_worker import EngineWorker
from softprompt.server.server_metrics import ServerMetrics
from softprompt.vllm_protocol import PLACEHOLDER_TOKEN_ID, UNKNOWN_PROMPT_DIGEST, parse_kv_transfer_params
from tests.server.live_server import until

FIELDS = {
    *("prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty"),
    *(
        "repetition_penalty",
        "seed",
        "logit_bias",
        "logprobs",
        "ignore_eos",
        "stop_token_ids",
        "stream",
        "stream_options",
    ),
    *("allowed_token_ids", "structured_outputs", "return_token_ids", "return_tokens_as_token_ids"),
    *("cache_salt", "kv_transfer_params", "add_special_tokens"),
}
INTERNAL_ERROR = {
    "error": {"message": "Internal server error", "type": "InternalServerError", "param": None, "code": 500}
}
FAR = 1e6  # a bias that leaves no other token


@dataclass
class Vllm:
    """What a replica does, and what was asked of it.

    Attributes:
        length: positions of a row, by vLLM's way to count.
        is_guarded: it has the plugin.
        hold: a stream waits behind so many tokens until `go` is set; None for none.
        error: it says to every request.
        hangs: it says nothing.
        asked: all bodies, but for canaries.
        open: responses that are being written.
    """

    model: FrozenModel
    prompts: Path
    length: int = 129
    is_guarded: bool = True
    hold: int | None = None
    error: str | None = None
    hangs: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    open: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    @cached_property
    def worker(self) -> EngineWorker:
        return EngineWorker(Engine(self.model, max_num_seqs=8, max_model_len=self.length), ServerMetrics())

    @cached_property
    def grammars(self) -> GuidanceCompiler:
        return GuidanceCompiler(self.model.tokenizer, self.model.shape.vocab_size, self.model.eos_token_ids)

    def app(self) -> Starlette:
        routes = [
            Route("/health", lambda _: Response()),
            Route("/v1/models", self.models),
            Route("/v1/completions", self.completions, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def models(self, _: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "base", "max_model_len": self.length}]})

    async def completions(self, request: HttpRequest) -> Response:
        while self.hangs:
            await asyncio.sleep(0.05)
        body = json.loads(await request.body())
        assert set(body) <= FIELDS, set(body) - FIELDS
        named = parse_kv_transfer_params(body.get("kv_transfer_params"))
        payload = None
        if named is not None and self.is_guarded:
            if not (self.prompts / named.digest).is_dir():
                return refused(400, "softprompt: there is no such prompt")
            payload = SavedPrompt.from_folder(self.prompts / named.digest).compile_for(self.model)
            assert payload.num_positions == named.num_positions
        if named is None or named.digest != UNKNOWN_PROMPT_DIGEST:
            self.asked.append(body)
        if self.error is not None:
            return refused(400, self.error)
        positions = 0 if payload is None else payload.num_positions
        assert all(row[:positions] == [PLACEHOLDER_TOKEN_ID] * positions for row in body["prompt"])
        rows = [tuple(row[positions:]) for row in body["prompt"]]
        if body.get("stream"):
            [row] = rows
            return StreamingResponse(self.streamed(row, body, payload), media_type="text/event-stream")
        written = [[each async for each in self.written(row, body, payload)] for row in rows]
        choices = [choice(index, each, body) for index, each in enumerate(written)]
        return JSONResponse({"object": "text_completion", "choices": choices})

    async def streamed(self, row: tuple[int, ...], body: Any, payload: Payload | None) -> AsyncIterator[str]:
        self.open += 1
        try:
            count = 0
            async for each in self.written(row, body, payload):
                if each.finish_reason is FinishReason.GRAMMAR_DEAD_END:
                    yield f"data: {json.dumps(INTERNAL_ERROR)}\n\ndata: [DONE]\n\n"
                    return
                yield f"data: {json.dumps({'object': 'text_completion', 'choices': [choice(0, [each], body)]})}\n\n"
                count += 1
                if count == self.hold:
                    await self.go.wait()
            details = {"cached_tokens": len(body["prompt"][0]) - len(row) + 2}
            yield f"data: {json.dumps({'choices': [], 'usage': {'prompt_tokens_details': details}})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.open -= 1

    async def written(self, row: tuple[int, ...], body: Any, payload: Payload | None) -> AsyncIterator[TokenOutput]:
        begun = await self.worker.submit_request(EngineRequest(row, self.sampling(body)), payload)
        try:
            async for each in begun:
                yield each
        finally:
            begun.close()

    def sampling(self, body: Any) -> SamplingParams:
        names = ("top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed")
        bias = {int(token): value for token, value in body.get("logit_bias", {}).items()}
        only = body.get("allowed_token_ids", [])
        assert body["ignore_eos"]
        return SamplingParams(
            max_new_tokens=body["max_tokens"],
            temperature=body["temperature"],
            logit_bias=bias | dict.fromkeys(only, FAR),
            ignore_eos=not body.get("stop_token_ids") and "structured_outputs" not in body,
            logprobs=body.get("logprobs"),
            grammar=self.grammar(body.get("structured_outputs")),
            **{name: body[name] for name in names if name in body},
        )

    def grammar(self, form: Any) -> CompiledGrammar | None:
        if form is None:
            return None
        return (
            self.grammars.compile_json_schema(form["json"])
            if "json" in form
            else self.grammars.compile_regex(form["regex"])
        )


def refused(status: int, message: str) -> Response:
    return JSONResponse(
        {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}, status
    )


def choice(index: int, written: list[TokenOutput], body: Any) -> dict[str, Any]:
    """VLLM's words for tokens of a response."""
    ends = {None: None, FinishReason.STOP: "stop", FinishReason.LENGTH: "length"}
    logprobs = None
    if body.get("logprobs") is not None:
        logprobs = {
            "text_offset": [0] * len(written),
            "tokens": [name(each.token_id) for each in written],
            "token_logprobs": [each.logprob for each in written],
            "top_logprobs": [
                {name(each.token_id): each.logprob, **{name(token): value for token, value in each.top_logprobs}}
                for each in written
            ],
        }
    return {
        "index": index,
        "text": "".join(each.text for each in written),
        "logprobs": logprobs,
        "finish_reason": ends[written[-1].finish_reason],
        "token_ids": [each.token_id for each in written],
    }


def name(token: int | None) -> str:
    return f"token_id:{token}"


@dataclass(frozen=True)
class Speaking:
    """A replica that runs."""

    vllm: Vllm
    url: str
    server: uvicorn.Server
    loop: asyncio.AbstractEventLoop

    def die(self) -> None:
        """As a process does that is killed: nobody listens, and all connections break."""

        async def die() -> None:
            for server in self.server.servers:
                for listening in server.sockets:
                    self.loop.remove_reader(listening)
            for _ in range(8):  # what is accepted is made first: a server that is closed between forgets to close it
                await asyncio.sleep(0)
            for server in self.server.servers:
                server.close()
            for connection in list(self.server.server_state.connections):
                connection.transport.abort()

        asyncio.run_coroutine_threadsafe(die(), self.loop)

    def go_on(self) -> None:
        """Let held streams go on."""
        self.loop.call_soon_threadsafe(self.vllm.go.set)


@contextmanager
def speaking(vllm: Vllm, port: int = 0) -> Iterator[Speaking]:
    """A replica at a port of this machine."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        server = uvicorn.Server(uvicorn.Config(vllm.app(), ws="none", lifespan="off", log_config=None))
        loops: list[asyncio.AbstractEventLoop] = []

        async def serve() -> None:
            loops.append(asyncio.get_running_loop())
            vllm.worker.start()
            try:
                await server.serve(sockets=[listening])
            finally:
                await vllm.worker.stop()

        thread = threading.Thread(target=asyncio.run, args=[serve()], daemon=True)
        thread.start()
        try:
            until(lambda: server.started)
            yield Speaking(vllm, f"http://127.0.0.1:{listening.getsockname()[1]}", server, loops[0])
        finally:
            loops[0].call_soon_threadsafe(vllm.go.set)
            server.should_exit = server.force_exit = True
            thread.join(60)
            assert not thread.is_alive()
