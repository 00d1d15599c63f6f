"""Fake replica: a server with the completions protocol of vLLM with softprompt's plugin, around softprompt's engine.

It accepts only the fields that a gateway sends, and loads prompts by their digest from the registry's folder. Tests can
hold its streams, make it fail, and kill it.
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
FAR = 1e6  # a logit bias that excludes all other tokens


@dataclass
class Vllm:
    """Application of a replica: its faults, and the requests that it received.

    Attributes:
        model: model of the engine.
        prompts: folder of the artifacts.
        length: maximum number of positions in a sequence, as vLLM counts them.
        is_guarded: whether the replica has the plugin.
        hold: number of tokens after which a stream waits until `go` is set; None to hold no stream.
        error: message of the error that every request gets; None for regular responses.
        hangs: whether requests get no response.
        asked: bodies of all requests, except the gateway's probes of the plugin.
        open: number of streams in progress.
        go: event that releases held streams.
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
        params = parse_kv_transfer_params(body.get("kv_transfer_params"))
        payload = None
        if params is not None and self.is_guarded:
            if not (self.prompts / params.digest).is_dir():
                return refused(400, "softprompt: there is no such prompt")
            payload = SavedPrompt.from_folder(self.prompts / params.digest).compile_for(self.model)
            assert payload.num_positions == params.num_positions
        if params is None or params.digest != UNKNOWN_PROMPT_DIGEST:
            self.asked.append(body)
        if self.error is not None:
            return refused(400, self.error)
        positions = 0 if payload is None else payload.num_positions
        assert all(ids[:positions] == [PLACEHOLDER_TOKEN_ID] * positions for ids in body["prompt"])
        prompts = [tuple(ids[positions:]) for ids in body["prompt"]]
        if body.get("stream"):
            [prompt] = prompts
            return StreamingResponse(self.streamed(prompt, body, payload), media_type="text/event-stream")
        responses = [[output async for output in self.written(prompt, body, payload)] for prompt in prompts]
        choices = [choice(index, outputs, body) for index, outputs in enumerate(responses)]
        return JSONResponse({"object": "text_completion", "choices": choices})

    async def streamed(self, prompt: tuple[int, ...], body: Any, payload: Payload | None) -> AsyncIterator[str]:
        self.open += 1
        try:
            count = 0
            async for output in self.written(prompt, body, payload):
                if output.finish_reason is FinishReason.GRAMMAR_DEAD_END:
                    yield f"data: {json.dumps(INTERNAL_ERROR)}\n\ndata: [DONE]\n\n"
                    return
                yield f"data: {json.dumps({'object': 'text_completion', 'choices': [choice(0, [output], body)]})}\n\n"
                count += 1
                if count == self.hold:
                    await self.go.wait()
            details = {"cached_tokens": len(body["prompt"][0]) - len(prompt) + 2}
            yield f"data: {json.dumps({'choices': [], 'usage': {'prompt_tokens_details': details}})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.open -= 1

    async def written(self, prompt: tuple[int, ...], body: Any, payload: Payload | None) -> AsyncIterator[TokenOutput]:
        generation = await self.worker.submit_request(EngineRequest(prompt, self.sampling(body)), payload)
        try:
            async for output in generation:
                yield output
        finally:
            generation.close()

    def sampling(self, body: Any) -> SamplingParams:
        names = ("top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed")
        bias = {int(token): value for token, value in body.get("logit_bias", {}).items()}
        allowed_ids = body.get("allowed_token_ids", [])
        assert body["ignore_eos"]
        return SamplingParams(
            max_new_tokens=body["max_tokens"],
            temperature=body["temperature"],
            logit_bias=bias | dict.fromkeys(allowed_ids, FAR),
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
    """Make a choice of a vLLM completion from the outputs of a response."""
    ends = {None: None, FinishReason.STOP: "stop", FinishReason.LENGTH: "length"}
    logprobs = None
    if body.get("logprobs") is not None:
        logprobs = {
            "text_offset": [0] * len(written),
            "tokens": [name(output.token_id) for output in written],
            "token_logprobs": [output.logprob for output in written],
            "top_logprobs": [
                {name(output.token_id): output.logprob, **{name(token): value for token, value in output.top_logprobs}}
                for output in written
            ],
        }
    return {
        "index": index,
        "text": "".join(output.text for output in written),
        "logprobs": logprobs,
        "finish_reason": ends[written[-1].finish_reason],
        "token_ids": [output.token_id for output in written],
    }


def name(token: int | None) -> str:
    return f"token_id:{token}"


@dataclass(frozen=True)
class Speaking:
    """Running replica."""

    vllm: Vllm
    url: str
    server: uvicorn.Server
    loop: asyncio.AbstractEventLoop

    def die(self) -> None:
        """Stop as a killed process does: the port is closed, and all connections are aborted."""

        async def die() -> None:
            for server in self.server.servers:
                for listening in server.sockets:
                    self.loop.remove_reader(listening)
            for _ in range(
                8
            ):  # accepted connections must be set up first: a server closed before would leave them open
                await asyncio.sleep(0)
            for server in self.server.servers:
                server.close()
            for connection in list(self.server.server_state.connections):
                connection.transport.abort()

        asyncio.run_coroutine_threadsafe(die(), self.loop)

    def go_on(self) -> None:
        """Release held streams."""
        self.loop.call_soon_threadsafe(self.vllm.go.set)


@contextmanager
def speaking(vllm: Vllm, port: int = 0) -> Iterator[Speaking]:
    """Run a replica on a port of this machine inside the `with` block."""
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
