"""Is a long-running server stable? Minutes of mixed load, and the resources of its process.

    python -m benchmarks.soak --model tiny --minutes 30

Clients send random requests of all kinds to a `softprompt serve` in its own process: chats and completions, streamed or
not, with log-probabilities, with a grammar, several at a time; classifications; uploads, activations and removals, with
garbage collections; disconnects in a stream, while waiting, or in the middle of a request; invalid requests. The RAM,
open files and sequences of the process are sampled every few seconds. At the end, without requests, no sequence may be
left.

Prints a table, then one JSON line. The slope is that of a line fitted to the RAM of the second half, when all caches
are full. Statuses of 500 and above are errors.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import linear_regression
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

import softprompt
from benchmarks.lib.server_process import (
    CLASSIFICATION_TASK,
    GENERATION_TASK,
    VOCABULARY,
    ServerProcess,
    make_random_prompt,
    run_server,
)

NUM_PROMPTS, MAX_VERSIONS = 20, 4
SERVER_OPTIONS = (
    "--max-num-seqs",
    "16",
    "--max-waiting-requests",
    "64",
    "--max-model-len",
    "256",
    "--prompt-cache-mib",
    "4",
    "--prefix-cache-mib",
    "16",
)
COLLECTION_GRACE = timedelta(minutes=1)  # longer than any request


@dataclass
class RandomClient:
    """A client that sends one request after the other, and counts the responses by kind and status."""

    server: ServerProcess
    http: httpx2.AsyncClient
    rng: random.Random
    counts: Counter[str]

    async def run_action(self) -> None:
        """Run a random action, some more often than others."""
        what = self.rng.choices(list(ACTIONS), [weight for _, weight in ACTIONS.values()])[0]
        try:
            status = await ACTIONS[what][0](self)
        except httpx2.TransportError as error:
            status = type(error).__name__
        self.counts[f"{what}: {status}"] += 1

    async def post_json(self, path: str, body: Any, **overrides: Any) -> int:
        return (await self.http.post(path, json=body, **overrides)).status_code

    def draw_text(self) -> str:
        return " ".join(self.rng.choices(VOCABULARY.split(), k=self.rng.randint(1, 60)))

    def draw_prompt_name(self) -> str:
        return f"writes-{self.rng.randrange(NUM_PROMPTS)}"

    def draw_request(self, **overrides: Any) -> dict[str, Any]:
        model = self.server.base_model if self.rng.random() < 0.2 else self.draw_prompt_name()
        drawn = {"temperature": self.rng.choice([0, 1]), "seed": self.rng.randrange(100)}
        return {"model": model, "prompt": self.draw_text(), "max_tokens": self.rng.randint(1, 24), **drawn, **overrides}


async def request_completion(client: RandomClient) -> int:
    return await client.post_json("/v1/completions", client.draw_request(n=client.rng.randint(1, 3), logprobs=2))


async def request_chat(client: RandomClient) -> int:
    wanted = {
        **client.draw_request(model=client.draw_prompt_name()),
        "messages": [{"role": "user", "content": client.draw_text()}],
    }
    del wanted["prompt"]
    return await client.post_json("/v1/chat/completions", {**wanted, "stream": True})


async def request_structured_output(client: RandomClient) -> int:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": ["good", "bad"]}}}
    return await client.post_json("/v1/completions", client.draw_request(response_format=form))


async def request_classification(client: RandomClient) -> int:
    return await client.post_json("/v1/classify", {"model": "tells", "input": [client.draw_text() for _ in range(3)]})


async def upload_prompt(client: RandomClient) -> int:
    saved = await asyncio.to_thread(make_random_prompt, client.server.model, GENERATION_TASK, client.rng.randrange(500))
    files = [("file", (name, content)) for name, content in saved.files.items()]
    answer = await client.http.post("/v1/prompts", data={"name": client.draw_prompt_name()}, files=files)
    if answer.status_code == 201 and answer.json()["version"] > MAX_VERSIONS:
        version = answer.json()
        await client.http.delete(f"/v1/prompts/{version['name']}/versions/{version['version'] - MAX_VERSIONS}")
    return answer.status_code


async def roll_back_prompt(client: RandomClient) -> int:
    return await client.post_json(f"/v1/prompts/{client.draw_prompt_name()}/rollback", {})


async def read_listing(client: RandomClient) -> int:
    path = client.rng.choice(
        ["/v1/models", "/v1/prompts", "/playground/state", f"/v1/prompts/{client.draw_prompt_name()}/history"]
    )
    return (await client.http.get(path)).status_code


async def disconnect_stream(client: RandomClient) -> int | str:
    """Disconnect in a stream, or while waiting for it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(client.rng.uniform(0, 0.3)):
            body = client.draw_request(stream=client.rng.random() < 0.7, max_tokens=100, n=4)
            async with client.http.stream("POST", "/v1/completions", json=body) as answer:
                async for _ in answer.aiter_bytes():
                    if client.rng.random() < 0.2:
                        return "gone"
    return "gone"


async def abort_request(client: RandomClient) -> str:
    """Disconnect in the middle of a request."""
    host, port = client.server.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    request = b'POST /v1/completions HTTP/1.1\r\nhost: here\r\ncontent-length: 100\r\n\r\n{"model": "writes-1"'
    writer.write(request[: client.rng.randrange(1, len(request))])
    await writer.drain()
    writer.close()
    return "gone"


async def send_invalid_request(client: RandomClient) -> int:
    """Send an invalid request."""
    wrong: list[dict[str, Any]] = [
        {"model": "nothing"},
        {"max_tokens": 10_000},
        {"temperature": "hot"},
        {"unknown": 1},
        {"prompt": [999_999]},
    ]
    return await client.post_json("/v1/completions", client.draw_request(**client.rng.choice(wrong)))


async def send_unauthorized_request(client: RandomClient) -> int:
    return await client.post_json("/v1/completions", client.draw_request(), headers={"authorization": "Bearer sp-none"})


ACTIONS: dict[str, tuple[Callable[[RandomClient], Awaitable[int | str]], int]] = {
    "completion": (request_completion, 10),
    "chat, streamed": (request_chat, 20),
    "in a grammar": (request_structured_output, 3),
    "classification": (request_classification, 8),
    "upload": (upload_prompt, 2),
    "swap": (roll_back_prompt, 4),
    "list": (read_listing, 4),
    "vanishing": (disconnect_stream, 8),
    "breaking off": (abort_request, 3),
    "mistake": (send_invalid_request, 5),
    "no key": (send_unauthorized_request, 2),
}


@dataclass
class ResourceLog:
    """Samples: seconds, MiB, open files, running or waiting sequences."""

    samples: list[dict[str, float]] = field(default_factory=list)

    def add_sample(self, server: ServerProcess, seconds: float) -> None:
        levels = server.read_metrics()
        rows = levels["num_requests_running"] + levels["num_requests_waiting"]
        memory = {"rss": round(server.rss_mebibytes, 1), "prompts": levels["prompt_cache_bytes"] / 2**20}
        self.samples.append({"seconds": round(seconds, 1), **memory, "files": server.open_files, "rows": rows})

    @property
    def mebibytes_per_hour(self) -> float:
        """Growth in MiB per hour, in the second half."""
        half = self.samples[len(self.samples) // 2 :]
        return 3600 * linear_regression([each["seconds"] for each in half], [each["rss"] for each in half]).slope


def main() -> None:
    arguments = parse_arguments()
    counts: Counter[str] = Counter()
    course = ResourceLog()
    with tempfile.TemporaryDirectory() as folder, run_server(arguments.model, Path(folder), SERVER_OPTIONS) as served:
        with softprompt.PromptRegistry.open(Path(folder) / "store") as store:
            for number in range(NUM_PROMPTS):
                for seed in range(2):
                    store.register_prompt(
                        make_random_prompt(served.model, GENERATION_TASK, 2 * number + seed),
                        f"writes-{number}",
                        tenant="acme",
                    )
            store.register_prompt(make_random_prompt(served.model, CLASSIFICATION_TASK, 0), "tells", tenant="acme")
            asyncio.run(run_clients(served, store, arguments, counts, course))
            is_whole = store.verify_integrity().is_intact
        is_alive = served.process.poll() is None
    print_tables(counts, course)
    found = summarize_soak(counts, course) | {"store_whole": is_whole, "alive": is_alive}
    command = f"python -m benchmarks.soak --model {arguments.model} --minutes {arguments.minutes:g}"
    print(json.dumps({"benchmark": "soak", **found, "course": course.samples, "command": command}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="tiny", help="tiny (random weights), or a value of `--model` of `softprompt serve`"
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--every", type=float, default=5, help="seconds between two samples")
    return parser.parse_args()


async def run_clients(
    server: ServerProcess,
    store: softprompt.PromptRegistry,
    arguments: argparse.Namespace,
    counts: Counter[str],
    resource_log: ResourceLog,
) -> None:
    """Run random clients until the time is over, and wait until the server is idle."""
    began = time.monotonic()
    end = began + 60 * arguments.minutes

    async def repeat_actions(number: int) -> None:
        async with httpx2.AsyncClient(base_url=server.url, headers=server.headers, timeout=120) as http:
            client = RandomClient(server, http, random.Random(number), counts)
            while time.monotonic() < end:
                await client.run_action()

    async def sample_resources() -> None:
        while time.monotonic() < end:
            await asyncio.to_thread(resource_log.add_sample, server, time.monotonic() - began)
            await asyncio.to_thread(store.collect_garbage, COLLECTION_GRACE)
            await asyncio.sleep(arguments.every)

    await asyncio.gather(sample_resources(), *(repeat_actions(number) for number in range(arguments.clients)))
    await asyncio.sleep(3)  # until the last disconnects are noticed
    await request_last_completion(server)
    resource_log.add_sample(server, time.monotonic() - began)


async def request_last_completion(server: ServerProcess) -> None:
    """Send one more request, so that the metrics are those of an idle server."""
    async with httpx2.AsyncClient(base_url=server.url, headers=server.headers, timeout=120) as http:
        body = {"model": server.base_model, "prompt": "the film", "max_tokens": 2}
        (await http.post("/v1/completions", json=body)).raise_for_status()
        await asyncio.sleep(0.2)


def summarize_soak(counts: Counter[str], resource_log: ResourceLog) -> dict[str, Any]:
    first, last = resource_log.samples[0], resource_log.samples[-1]
    failed = {what: count for what, count in counts.items() if what.rpartition(" ")[2].startswith("5")}
    return {
        "requests": sum(counts.values()),
        "failed": failed,
        "rss_first": first["rss"],
        "rss_half": resource_log.samples[len(resource_log.samples) // 2]["rss"],
        "rss_last": last["rss"],
        "rss_most": max(each["rss"] for each in resource_log.samples),
        "mib_an_hour": round(resource_log.mebibytes_per_hour, 1),
        "files_first": first["files"],
        "files_last": last["files"],
        "rows_left": last["rows"],
        "counts": dict(sorted(counts.items())),
    }


def print_tables(counts: Counter[str], resource_log: ResourceLog) -> None:
    table = Table("what: status", "times", title="answered")
    for what, count in sorted(counts.items()):
        table.add_row(what, str(count))
    Console().print(table)
    table = Table("s", "RSS, MiB", "prompts, MiB", "files", "rows", title="the server")
    for note in resource_log.samples[:: max(1, len(resource_log.samples) // 20)]:
        table.add_row(*(f"{value:.1f}" for value in note.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
