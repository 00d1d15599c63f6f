"""No tenant gets another tenant's token, probability, name or count, even under concurrent requests.

Each of 50 tenants has secrets in its name, its prompts' names, templates, labels and notes, and in its texts. All send
requests at once, over the same connections and in random order. Each response equals that of a server without other
clients, and contains no secret of another tenant.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import settings

from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from softprompt.server.app import create_app
from softprompt.server.app_state import AppState
from softprompt.server.server_config import ServerConfig
from softprompt.tasks import ClassificationTask, GenerationTask
from tests.server.live_server import ANSWERS, BASE, prompt_for, running

TENANTS, AT_ONCE = 50, 32
COMPARED = slice(None, None, 1 if settings().max_examples > 50 else 6)  # with servers of their own; each takes a while
SETTINGS: dict[str, Any] = {
    "max_num_seqs": 8,
    "max_model_len": 128,
    "prompt_cache_bytes": 2**19,
}  # prompts come and go meanwhile
TEXT = "the film was great fun and its ending lovely, the plot a bore"  # the same for all, and longer than a block
CHANGING = frozenset({"id", "created", "created_at", "mean_ttft_seconds", "prompt_tokens_details"})


@dataclass(frozen=True)
class Tenant:
    """One of them, with its neighbour's prompt, which it knows of somehow."""

    name: str
    secret: str
    key: str
    coveted: str


@dataclass(frozen=True)
class Answered:
    """An answer: what it says without its numbers and what changes from day to day, the numbers, and all of it."""

    status: int
    said: Any
    numbers: list[float]
    whole: str

    @classmethod
    def of(cls, status: int, whole: str, headers: Mapping[str, str]) -> Answered:
        numbers: list[float] = []
        said = _without(json.loads(whole), numbers)
        return cls(status, said, numbers, f"{sorted(headers.items())} {whole}")


def _without(value: Any, numbers: list[float]) -> Any:
    """What is said, without what changes and its numbers; these are put where they are to be."""
    match value:
        case dict():
            return {name: _without(each, numbers) for name, each in value.items() if name not in CHANGING}
        case list():
            return [_without(each, numbers) for each in value]
        case float():
            numbers.append(value)
            return "a number"
    return value


Ask = Callable[[httpx2.AsyncClient, Tenant], Awaitable[Answered]]


def secret_of(index: int) -> str:
    return f"{random.Random(index).getrandbits(40):010x}"


def own_prompts(model: FrozenModel, index: int) -> dict[str, list[SavedPrompt]]:
    """A tenant's prompts. Two are called the same at all of them, and one is the same."""
    secret = secret_of(index)
    writes = GenerationTask(template=f"{secret} {{input}}\nAnswer:")
    tells = ClassificationTask(labels=("good", f"not {secret}"), template=f"{secret}: {{text}}\nIt is")
    return {
        "answers": [prompt_for(model, writes, 100 * index + number) for number in range(1 + index % 2)],
        "reviews": [prompt_for(model, tells, 100 * index + 50)],
        f"own-{secret}": [prompt_for(model, ANSWERS, 0)],
    }


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel) -> tuple[Path, list[Tenant]]:
    """A store with the prompts of all."""
    folder, made = tmp_path_factory.mktemp("tenants") / "store", []
    with pytest.MonkeyPatch.context() as patch, PromptRegistry.open(folder, create=True) as store:
        patch.setattr(os, "fsync", lambda _: None)  # nobody pulls the plug here
        for index in range(TENANTS):
            secret = secret_of(index)
            name, coveted = f"tenant-{secret}", f"own-{secret_of((index + 1) % TENANTS)}"
            for prompt, versions in own_prompts(chatting, index).items():
                for version in versions:
                    store.register_prompt(version, prompt, tenant=name, note=f"noted {secret}")
            made.append(Tenant(name, secret, store.api_keys.create_key(name, "manage")[1], coveted))
    return folder, made


def call(method: str, path: str, body: Callable[[Tenant], Any] = lambda _: None, **headers: str) -> Ask:
    """A request; in its path and headers `{coveted}` is the neighbour's prompt."""

    async def ask(http: httpx2.AsyncClient, tenant: Tenant) -> Answered:
        sent = {name: value.format(coveted=tenant.coveted) for name, value in headers.items()}
        sent |= {"authorization": f"Bearer {tenant.key}"}
        place = path.format(coveted=tenant.coveted)
        answer = await http.request(method, place, json=body(tenant), headers=sent)
        return Answered.of(answer.status_code, answer.text.replace(tenant.coveted, "COVETED"), answer.headers)

    return ask


async def streamed(http: httpx2.AsyncClient, tenant: Tenant) -> Answered:
    """A stream by OpenAI's client: of the prompt that all have, with the text that all have."""
    base = str(http.base_url).rstrip("/")
    client = openai.AsyncOpenAI(api_key=tenant.key, base_url=f"{base}/v1", http_client=http, max_retries=0)
    stream = await client.completions.create(
        model=f"own-{tenant.secret}",
        prompt=TEXT,
        max_tokens=6,
        temperature=0,
        logprobs=2,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk.to_dict() async for chunk in stream]
    return Answered.of(200, json.dumps(chunks), stream.response.headers)


def chatted(tenant: Tenant, model: str = "answers", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"{TEXT} {tenant.secret}"}]
    return {"model": model, "messages": messages, "max_tokens": 6, "temperature": 0, **more}


ASKED: dict[str, Ask] = {
    "chat": call("POST", "/v1/chat/completions", lambda t: chatted(t, logprobs=True, top_logprobs=2)),
    "drawn": call("POST", "/v1/chat/completions", lambda t: chatted(t, temperature=1, seed=7, n=2)),
    "base": call("POST", "/v1/completions", lambda t: {"model": BASE, "prompt": TEXT, "seed": 5, "logprobs": 1}),
    "stream": streamed,
    "labels": call("POST", "/v1/classify", lambda t: {"model": "reviews", "input": [TEXT, t.secret]}),
    "models": call("GET", "/v1/models"),
    "prompts": call("GET", "/v1/prompts"),
    "history": call("GET", "/v1/prompts/answers/history"),
    "too long": call("POST", "/v1/chat/completions", lambda t: chatted(t, max_tokens=1000)),
    "another's": call("POST", "/v1/chat/completions", lambda t: chatted(t, t.coveted)),
    "another's model": call("GET", "/v1/models/{coveted}"),
    "another's version": call("GET", "/v1/models/{coveted}@1"),
    "another's history": call("GET", "/v1/prompts/{coveted}/history"),
    "another's alias": call("POST", "/v1/prompts/{coveted}/activate", lambda _: {"version": 1}),
    "another's rows": call("DELETE", "/v1/prompts/{coveted}/versions/1"),
    "as another": call("GET", "/v1/models", **{"x-softprompt-tenant": "tenant-{coveted}"}),
    "metrics": call("GET", "/metrics"),
}
ALWAYS = ("chat", "prompts")
COUNTS = call("GET", "/playground/state")
STATUS = {
    "too long": 400,
    "another's": 404,
    "another's model": 404,
    "another's version": 404,
    "another's alias": 404,
    "another's rows": 404,
    "as another": 403,
    "metrics": 403,
}


def asked_by(tenant: Tenant) -> list[str]:
    """What a tenant asks, in its order: some of all there is."""
    some = random.Random(tenant.secret).sample(sorted(ASKED.keys() - ALWAYS), 6)
    return [*ALWAYS, *some]


async def alone(folder: Path, model: FrozenModel, tenant: Tenant, asked: Sequence[str]) -> dict[str, Answered]:
    """What a tenant is answered by a server that nobody else has asked anything, one thing after the other."""
    with PromptRegistry.open(folder) as store:
        app = create_app(AppState.from_config(ServerConfig(**SETTINGS), model, store))
        transport = httpx2.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
        ):
            found = {name: await ASKED[name](http, tenant) for name in asked}
            return {**found, "counts": await COUNTS(http, tenant)}


async def together(url: str, tenants: list[Tenant], seed: int) -> dict[str, dict[str, Answered]]:
    """What all are answered when everything is asked at once, in random order."""
    found: dict[str, dict[str, Answered]] = {tenant.name: {} for tenant in tenants}
    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(http: httpx2.AsyncClient, tenant: Tenant, name: str) -> None:
        async with turns:
            found[tenant.name][name] = await (COUNTS if name == "counts" else ASKED[name])(http, tenant)

    everything = [(tenant, name) for tenant in tenants for name in asked_by(tenant)]
    random.Random(seed).shuffle(everything)
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        await asyncio.gather(*(ask(http, *each) for each in everything))
        await asyncio.gather(*(ask(http, tenant, "counts") for tenant in tenants))
    return found


def test_no_tenant_sees_data_of_another(tenants: tuple[Path, list[Tenant]], chatting: FrozenModel) -> None:
    folder, everybody = tenants
    with running(folder, chatting, auth_enabled=True, **SETTINGS) as server:
        found = asyncio.run(together(server.url, everybody, seed=1))
        assert server.parts.prompt_cache.num_prompts < TENANTS  # so some were read again and again
        assert not server.rows
    secrets = {tenant.secret for tenant in everybody}
    for tenant in everybody:
        for name, answered in found[tenant.name].items():
            assert answered.status == STATUS.get(name, 200), answered.whole
            assert [secret for secret in secrets - {tenant.secret} if secret in answered.whole] == []
    for tenant in everybody[COMPARED]:
        for name, expected in asyncio.run(alone(folder, chatting, tenant, asked_by(tenant))).items():
            answered = found[tenant.name][name]
            assert answered.said == expected.said
            assert answered.numbers == pytest.approx(expected.numbers, abs=1e-4)
    for tenant in everybody:  # who all asked the same, each once: nobody had read it before
        once = [found[tenant.name][name].whole for name in ("base", "stream") if name in found[tenant.name]]
        assert {count for whole in once for count in re.findall(r'"cached_tokens": ?(\d+)', whole)} <= {"0"}
    said = {json.dumps(found[tenant.name]["chat"].said["choices"]) for tenant in everybody}
    assert len(said) == TENANTS  # else nothing could have been mixed up
    assert all(tenant.secret in found[tenant.name]["prompts"].whole for tenant in everybody)


def test_responses_about_another_tenants_prompt_equal_those_about_a_missing_prompt(
    tenants: tuple[Path, list[Tenant]], chatting: FrozenModel
) -> None:
    folder, (tenant, *_) = tenants
    nothing = Tenant(tenant.name, tenant.secret, tenant.key, "own-0000000000")
    about = [name for name in ASKED if "another" in name]
    there, not_there = (asyncio.run(alone(folder, chatting, each, about)) for each in (tenant, nothing))
    for name in about:
        assert (there[name].status, there[name].said) == (not_there[name].status, not_there[name].said)
