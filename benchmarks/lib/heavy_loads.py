"""Twelve heavy loads of one tenant, for `fairness.py`: each repeats its requests until its process ends.

    python -m benchmarks.lib.heavy_loads URL KEY LOAD FOLDER

A load runs in its own process, so that its work does not delay the measuring process, and at a low priority, because in
practice it would be on another machine. It imports no model. FOLDER has `material.json` and the prompts to upload,
which `fairness.py` wrote. When its input ends, it prints the number of responses by status as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

STOP_TEXT_CHARS, NUM_PROPERTIES = 60_000, 2_500
OVERSIZED_TEXT = "ab" * 500_000  # below the body's size limit, and more tokens than any model accepts


@dataclass
class HeavyTenant:
    """A tenant with heavy requests.

    Attributes:
        http: client with the tenant's API key.
        material: facts about the model from `fairness.py`: `base`, `most_tokens`, `long_texts`, `letter`, `prompts`.
        folder: folder of the prompts to upload.
        request_number: number of the next request.
    """

    http: httpx2.AsyncClient
    material: dict[str, Any]
    folder: Path
    request_number: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    async def request_completion(self, **overrides: Any) -> httpx2.Response:
        body = {"model": self.material["base"], "prompt": "the film", "ignore_eos": True, "temperature": 0, **overrides}
        return await self.http.post("/v1/completions", json=body)

    async def request_classification(self, model: str, texts: list[str]) -> httpx2.Response:
        return await self.http.post("/v1/classify", json={"model": model, "input": texts})


async def send_wide_request(tenant: HeavyTenant) -> httpx2.Response:
    return await tenant.request_completion(n=64, max_tokens=tenant.material["most_tokens"])


async def send_many_requests(tenant: HeavyTenant) -> httpx2.Response:
    return await tenant.request_completion(n=16, max_tokens=100)


async def send_oversized_text(tenant: HeavyTenant) -> httpx2.Response:
    return await tenant.request_completion(prompt=OVERSIZED_TEXT)


async def upload_many_labels(tenant: HeavyTenant) -> httpx2.Response:
    folder = tenant.folder / "labels"
    files = [("file", (path.name, path.read_bytes())) for path in sorted(folder.iterdir())]
    name = f"labels-{tenant.request_number % 4}"
    answer = await tenant.http.post("/v1/prompts", data={"name": name}, files=files)
    return answer if answer.status_code >= 400 else await tenant.request_classification(name, ["a bore"])


async def send_long_stops(tenant: HeavyTenant) -> httpx2.Response:
    letter = tenant.material["letter"]
    stops = [letter["text"] * (STOP_TEXT_CHARS - number) for number in range(16)]
    return await tenant.request_completion(n=8, max_tokens=400, stop=stops, logit_bias={letter["id"]: 100})


async def send_heavy_grammar(tenant: HeavyTenant) -> httpx2.Response:
    properties = {f"property{number}": {"type": "string"} for number in range(NUM_PROPERTIES)}
    forms: list[dict[str, Any]] = [
        {"regex": r"\p{L}{1,2000}\P{L}{1,2000}"},
        {"json": {"type": "array", "items": {"type": "string"}, "minItems": 10**9}},
        {"json": {"type": "object", "properties": properties}},
    ]
    form = forms[tenant.request_number % len(forms)]
    return await tenant.request_completion(n=4, max_tokens=60, temperature=1, ignore_eos=False, structured_outputs=form)


async def send_penalties(tenant: HeavyTenant) -> httpx2.Response:
    text = random.choice(tenant.material["long_texts"])[: len(tenant.material["long_texts"][0]) // 2]
    half = tenant.material["most_tokens"] // 4
    sampled = {"temperature": 1, "presence_penalty": 1, "frequency_penalty": 1, "repetition_penalty": 1.2}
    return await tenant.request_completion(prompt=text, n=8, max_tokens=half, **sampled)


async def classify_many_texts(tenant: HeavyTenant) -> httpx2.Response:
    return await tenant.request_classification(
        "tells", [f"the film was great fun {number % 7}" for number in range(1000)]
    )


async def request_logprobs(tenant: HeavyTenant) -> httpx2.Response:
    return await tenant.request_completion(n=64, max_tokens=60, logprobs=20)


async def classify_one_text(tenant: HeavyTenant) -> httpx2.Response:
    return await tenant.request_classification("tells", ["a bore"])


async def request_next_prompt(tenant: HeavyTenant) -> httpx2.Response:
    prompts = tenant.material["prompts"]
    return await tenant.request_completion(model=prompts[tenant.request_number % len(prompts)], max_tokens=1)


async def send_long_text(tenant: HeavyTenant) -> httpx2.Response:
    text = random.choice(tenant.material["long_texts"])
    return await tenant.request_completion(prompt=f"{tenant.request_number % 10} {text}", max_tokens=1)


#: By name: the function that sends the load, the number of concurrent ones, and the label in the table.
LOADS: dict[str, tuple[Callable[[HeavyTenant], Awaitable[httpx2.Response]], int, str]] = {
    "rows": (send_wide_request, 1, "n=64 rows of one long request"),
    "requests": (send_many_requests, 8, "many requests of 16 rows"),
    "refused": (send_oversized_text, 8, "eight texts of 1 MB that are refused"),
    "labels": (upload_many_labels, 2, "uploads with 1,800 labels, and classify"),
    "stops": (send_long_stops, 2, "16 stop texts of 60,000 characters"),
    "grammars": (send_heavy_grammar, 4, "heavy grammars"),
    "penalties": (send_penalties, 4, "penalties on long texts"),
    "texts": (classify_many_texts, 4, "classification of 1,000 texts"),
    "logprobs": (request_logprobs, 2, "logprobs of n=64, 20 at each token"),
    "flood": (classify_one_text, 64, "64 classifications at once"),
    "prompts": (request_next_prompt, 8, "many prompts with long virtual tokens"),
    "long": (send_long_text, 32, "texts as long as the window"),
}


async def run_until_stdin_closes(url: str, api_key: str, load: str, folder: Path) -> None:
    """Send requests until the input ends."""
    ask, at_once, _ = LOADS[load]
    headers = {"authorization": f"Bearer {api_key}"}
    limits = httpx2.Limits(max_connections=at_once)
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=600, limits=limits) as http:
        heavy = HeavyTenant(http, json.loads((folder / "material.json").read_text()), folder)

        async def ask_again_and_again() -> None:
            while True:
                heavy.request_number += 1
                try:
                    status = str((await ask(heavy)).status_code)
                except httpx2.TransportError as error:
                    status = type(error).__name__
                heavy.statuses[status] += 1
                if status != "200":
                    await asyncio.sleep(0.02)  # limits the rate of requests that are rejected at once

        asking = [asyncio.create_task(ask_again_and_again()) for _ in range(at_once)]
        await asyncio.to_thread(sys.stdin.read)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        print(json.dumps(dict(heavy.statuses)), flush=True)


if __name__ == "__main__":
    os.nice(10)
    asyncio.run(run_until_stdin_closes(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))
