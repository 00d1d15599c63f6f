"""Twelve heavy loads by one tenant, for `fairness.py`: each asks again and again until its process is ended.

    python -m benchmarks.loads URL KEY LOAD FOLDER

It runs in a process of its own, so that what it reads and writes keeps nobody waiting in the process that measures,
and at a low priority, since it would be on another machine. It imports no model. FOLDER holds `material.json` and the
prompts that are brought in, which `fairness.py` wrote. When its input ends it prints how often each status was
answered, as JSON.
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

LONG_STOP, MANY_PROPERTIES = 60_000, 2_500
REFUSED_TEXT = "ab" * 500_000  # below the limit of a body, and more tokens than any window


@dataclass
class Heavy:
    """A tenant that asks for much.

    Attributes:
        http: asks with its key.
        material: what `fairness.py` knows of the model: `base`, `most_tokens`, `long_texts`, `letter`, `prompts`.
        folder: where the prompts are that are brought in.
        number: of the next request.
    """

    http: httpx2.AsyncClient
    material: dict[str, Any]
    folder: Path
    number: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    async def write(self, **wanted: Any) -> httpx2.Response:
        body = {"model": self.material["base"], "prompt": "the film", "ignore_eos": True, "temperature": 0, **wanted}
        return await self.http.post("/v1/completions", json=body)

    async def classify(self, model: str, texts: list[str]) -> httpx2.Response:
        return await self.http.post("/v1/classify", json={"model": model, "input": texts})


async def rows_of_one_request(heavy: Heavy) -> httpx2.Response:
    return await heavy.write(n=64, max_tokens=heavy.material["most_tokens"])


async def requests_of_many_rows(heavy: Heavy) -> httpx2.Response:
    return await heavy.write(n=16, max_tokens=100)


async def refused_texts(heavy: Heavy) -> httpx2.Response:
    return await heavy.write(prompt=REFUSED_TEXT)


async def many_labels(heavy: Heavy) -> httpx2.Response:
    folder = heavy.folder / "labels"
    files = [("file", (path.name, path.read_bytes())) for path in sorted(folder.iterdir())]
    name = f"labels-{heavy.number % 4}"
    answer = await heavy.http.post("/v1/prompts", data={"name": name}, files=files)
    return answer if answer.status_code >= 400 else await heavy.classify(name, ["a bore"])


async def long_stops(heavy: Heavy) -> httpx2.Response:
    letter = heavy.material["letter"]
    stops = [letter["text"] * (LONG_STOP - number) for number in range(16)]
    return await heavy.write(n=8, max_tokens=400, stop=stops, logit_bias={letter["id"]: 100})


async def heavy_grammars(heavy: Heavy) -> httpx2.Response:
    properties = {f"property{number}": {"type": "string"} for number in range(MANY_PROPERTIES)}
    forms: list[dict[str, Any]] = [
        {"regex": r"\p{L}{1,2000}\P{L}{1,2000}"},
        {"json": {"type": "array", "items": {"type": "string"}, "minItems": 10**9}},
        {"json": {"type": "object", "properties": properties}},
    ]
    form = forms[heavy.number % len(forms)]
    return await heavy.write(n=4, max_tokens=60, temperature=1, ignore_eos=False, structured_outputs=form)


async def penalties(heavy: Heavy) -> httpx2.Response:
    text = random.choice(heavy.material["long_texts"])[: len(heavy.material["long_texts"][0]) // 2]
    half = heavy.material["most_tokens"] // 4
    sampled = {"temperature": 1, "presence_penalty": 1, "frequency_penalty": 1, "repetition_penalty": 1.2}
    return await heavy.write(prompt=text, n=8, max_tokens=half, **sampled)


async def many_texts(heavy: Heavy) -> httpx2.Response:
    return await heavy.classify("tells", [f"the film was great fun {number % 7}" for number in range(1000)])


async def logprobs(heavy: Heavy) -> httpx2.Response:
    return await heavy.write(n=64, max_tokens=60, logprobs=20)


async def classify_flood(heavy: Heavy) -> httpx2.Response:
    return await heavy.classify("tells", ["a bore"])


async def many_prompts(heavy: Heavy) -> httpx2.Response:
    prompts = heavy.material["prompts"]
    return await heavy.write(model=prompts[heavy.number % len(prompts)], max_tokens=1)


async def long_texts(heavy: Heavy) -> httpx2.Response:
    text = random.choice(heavy.material["long_texts"])
    return await heavy.write(prompt=f"{heavy.number % 10} {text}", max_tokens=1)


#: What is asked, how often at the same time, and what the row of the table says.
LOADS: dict[str, tuple[Callable[[Heavy], Awaitable[httpx2.Response]], int, str]] = {
    "rows": (rows_of_one_request, 1, "n=64 rows of one long request"),
    "requests": (requests_of_many_rows, 8, "many requests of 16 rows"),
    "refused": (refused_texts, 8, "eight texts of 1 MB that are refused"),
    "labels": (many_labels, 2, "uploads with 1,800 labels, and classify"),
    "stops": (long_stops, 2, "16 stop texts of 60,000 characters"),
    "grammars": (heavy_grammars, 4, "heavy grammars"),
    "penalties": (penalties, 4, "penalties on long texts"),
    "texts": (many_texts, 4, "classification of 1,000 texts"),
    "logprobs": (logprobs, 2, "logprobs of n=64, 20 at each token"),
    "flood": (classify_flood, 64, "64 classifications at once"),
    "prompts": (many_prompts, 8, "many prompts with long virtual tokens"),
    "long": (long_texts, 32, "texts as long as the window"),
}


async def keep_asking(url: str, key: str, load: str, folder: Path) -> None:
    """Ask until the input ends."""
    ask, at_once, _ = LOADS[load]
    headers = {"authorization": f"Bearer {key}"}
    limits = httpx2.Limits(max_connections=at_once)
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=600, limits=limits) as http:
        heavy = Heavy(http, json.loads((folder / "material.json").read_text()), folder)

        async def ask_again_and_again() -> None:
            while True:
                heavy.number += 1
                try:
                    status = str((await ask(heavy)).status_code)
                except httpx2.TransportError as error:
                    status = type(error).__name__
                heavy.statuses[status] += 1
                if status != "200":
                    await asyncio.sleep(0.02)  # who is refused at once asks again at once, but not only that

        asking = [asyncio.create_task(ask_again_and_again()) for _ in range(at_once)]
        await asyncio.to_thread(sys.stdin.read)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        print(json.dumps(dict(heavy.statuses)), flush=True)


if __name__ == "__main__":
    os.nice(10)
    asyncio.run(keep_asking(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))
