"""Does a server that runs for long stay as it was? Mixed load for minutes, and what its process takes meanwhile.

    python -m benchmarks.soak --model tiny --minutes 30

A `softprompt serve` in a process of its own is asked all that can be asked, by clients that each draw what to do next:
chats and completions, streamed or not, with probabilities, in a grammar, several at a time; classifications; uploads,
swaps, removals, of which the store is collected now and then; clients that go away in a stream, while they wait, or in
their own request; requests that are wrong. Every few seconds the process's RAM, open files and rows are noted. In the
end nobody asks any more, and no row may be left.

Prints a table, then one JSON line. The slope is of a line through the RAM of the second half, when all that is filled
once is full; statuses of 500 and above are errors.
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
from benchmarks.served import TELLS, WORDS, WRITES, Served, prompt, serving

PROMPTS, VERSIONS = 20, 4
OPTIONS = ("--slots", "16", "--waiting", "64", "--length", "256", "--prompt-memory", "4", "--text-memory", "16")
LATER = timedelta(minutes=1)  # after which what was removed is deleted: no request takes as long


@dataclass
class Client:
    """Somebody who asks one thing after the other; counts what was answered, by what and status."""

    served: Served
    http: httpx2.AsyncClient
    draw: random.Random
    counts: Counter[str]

    async def act(self) -> None:
        """Do one thing, some more often than others."""
        what = self.draw.choices(list(DOINGS), [weight for _, weight in DOINGS.values()])[0]
        try:
            status = await DOINGS[what][0](self)
        except httpx2.TransportError as error:
            status = type(error).__name__
        self.counts[f"{what}: {status}"] += 1

    async def post(self, path: str, body: Any, **more: Any) -> int:
        return (await self.http.post(path, json=body, **more)).status_code

    def text(self) -> str:
        return " ".join(self.draw.choices(WORDS.split(), k=self.draw.randint(1, 60)))

    def name(self) -> str:
        return f"writes-{self.draw.randrange(PROMPTS)}"

    def wanted(self, **more: Any) -> dict[str, Any]:
        model = self.served.base if self.draw.random() < 0.2 else self.name()
        drawn = {"temperature": self.draw.choice([0, 1]), "seed": self.draw.randrange(100)}
        return {"model": model, "prompt": self.text(), "max_tokens": self.draw.randint(1, 24), **drawn, **more}


async def completion(client: Client) -> int:
    return await client.post("/v1/completions", client.wanted(n=client.draw.randint(1, 3), logprobs=2))


async def chat(client: Client) -> int:
    wanted = {**client.wanted(model=client.name()), "messages": [{"role": "user", "content": client.text()}]}
    del wanted["prompt"]
    return await client.post("/v1/chat/completions", {**wanted, "stream": True})


async def structured(client: Client) -> int:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": ["good", "bad"]}}}
    return await client.post("/v1/completions", client.wanted(response_format=form))


async def classify(client: Client) -> int:
    return await client.post("/v1/classify", {"model": "tells", "input": [client.text() for _ in range(3)]})


async def upload(client: Client) -> int:
    saved = await asyncio.to_thread(prompt, client.served.model, WRITES, client.draw.randrange(500))
    files = [("file", (name, content)) for name, content in saved.files.items()]
    answer = await client.http.post("/v1/prompts", data={"name": client.name()}, files=files)
    if answer.status_code == 201 and answer.json()["version"] > VERSIONS:
        version = answer.json()
        await client.http.delete(f"/v1/prompts/{version['name']}/versions/{version['version'] - VERSIONS}")
    return answer.status_code


async def swap(client: Client) -> int:
    return await client.post(f"/v1/prompts/{client.name()}/rollback", {})


async def look(client: Client) -> int:
    path = client.draw.choice(["/v1/models", "/v1/prompts", "/page/state", f"/v1/prompts/{client.name()}/history"])
    return (await client.http.get(path)).status_code


async def vanish(client: Client) -> int | str:
    """In a stream, or while it waits."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(client.draw.uniform(0, 0.3)):
            body = client.wanted(stream=client.draw.random() < 0.7, max_tokens=100, n=4)
            async with client.http.stream("POST", "/v1/completions", json=body) as answer:
                async for _ in answer.aiter_bytes():
                    if client.draw.random() < 0.2:
                        return "gone"
    return "gone"


async def break_off(client: Client) -> str:
    """In its own request."""
    host, port = client.served.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    said = b'POST /v1/completions HTTP/1.1\r\nhost: here\r\ncontent-length: 100\r\n\r\n{"model": "writes-1"'
    writer.write(said[: client.draw.randrange(1, len(said))])
    await writer.drain()
    writer.close()
    return "gone"


async def mistake(client: Client) -> int:
    """Something that is wrong."""
    wrong: list[dict[str, Any]] = [
        {"model": "nothing"},
        {"max_tokens": 10_000},
        {"temperature": "hot"},
        {"unknown": 1},
        {"prompt": [999_999]},
    ]
    return await client.post("/v1/completions", client.wanted(**client.draw.choice(wrong)))


async def intrude(client: Client) -> int:
    return await client.post("/v1/completions", client.wanted(), headers={"authorization": "Bearer sp-none"})


DOINGS: dict[str, tuple[Callable[[Client], Awaitable[int | str]], int]] = {
    "completion": (completion, 10),
    "chat, streamed": (chat, 20),
    "in a grammar": (structured, 3),
    "classification": (classify, 8),
    "upload": (upload, 2),
    "swap": (swap, 4),
    "list": (look, 4),
    "vanishing": (vanish, 8),
    "breaking off": (break_off, 3),
    "mistake": (mistake, 5),
    "no key": (intrude, 2),
}


@dataclass
class Course:
    """What was noted: seconds, MiB, open files, rows that run or wait."""

    notes: list[dict[str, float]] = field(default_factory=list)

    def note(self, served: Served, seconds: float) -> None:
        levels = served.levels()
        rows = levels["running"] + levels["waiting"]
        memory = {"rss": round(served.rss, 1), "prompts": levels["prompt_bytes_in_memory"] / 2**20}
        self.notes.append({"seconds": round(seconds, 1), **memory, "files": served.open_files, "rows": rows})

    @property
    def slope(self) -> float:
        """MiB an hour, in the second half."""
        half = self.notes[len(self.notes) // 2 :]
        return 3600 * linear_regression([each["seconds"] for each in half], [each["rss"] for each in half]).slope


def main() -> None:
    arguments = parsed()
    counts: Counter[str] = Counter()
    course = Course()
    with tempfile.TemporaryDirectory() as folder, serving(arguments.model, Path(folder), OPTIONS) as served:
        with softprompt.Store.open(Path(folder) / "store") as store:
            for number in range(PROMPTS):
                for seed in range(2):
                    store.add(prompt(served.model, WRITES, 2 * number + seed), f"writes-{number}", tenant="acme")
            store.add(prompt(served.model, TELLS, 0), "tells", tenant="acme")
            asyncio.run(run(served, store, arguments, counts, course))
            is_whole = store.verify().whole
        is_alive = served.process.poll() is None
    show(counts, course)
    found = figures(counts, course) | {"store_whole": is_whole, "alive": is_alive}
    command = f"python -m benchmarks.soak --model {arguments.model} --minutes {arguments.minutes:g}"
    print(json.dumps({"benchmark": "soak", **found, "course": course.notes, "command": command}))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny: random numbers; or what `--model` takes")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--every", type=float, default=5, help="seconds between two notes")
    return parser.parse_args()


async def run(
    served: Served, store: softprompt.Store, arguments: argparse.Namespace, counts: Counter[str], course: Course
) -> None:
    """Let clients do what they draw until the time is over, and wait until nothing runs."""
    began = time.monotonic()
    end = began + 60 * arguments.minutes

    async def keep_acting(number: int) -> None:
        async with httpx2.AsyncClient(base_url=served.url, headers=served.headers, timeout=120) as http:
            client = Client(served, http, random.Random(number), counts)
            while time.monotonic() < end:
                await client.act()

    async def watch() -> None:
        while time.monotonic() < end:
            await asyncio.to_thread(course.note, served, time.monotonic() - began)
            await asyncio.to_thread(store.collect, LATER)
            await asyncio.sleep(arguments.every)

    await asyncio.gather(watch(), *(keep_acting(number) for number in range(arguments.clients)))
    await asyncio.sleep(3)  # those who went away last are noticed
    await completion_after(served)
    course.note(served, time.monotonic() - began)


async def completion_after(served: Served) -> None:
    """One more, after which the levels are those of a server that nobody asks."""
    async with httpx2.AsyncClient(base_url=served.url, headers=served.headers, timeout=120) as http:
        body = {"model": served.base, "prompt": "the film", "max_tokens": 2}
        (await http.post("/v1/completions", json=body)).raise_for_status()
        await asyncio.sleep(0.2)


def figures(counts: Counter[str], course: Course) -> dict[str, Any]:
    first, last = course.notes[0], course.notes[-1]
    failed = {what: count for what, count in counts.items() if what.rpartition(" ")[2].startswith("5")}
    return {
        "requests": sum(counts.values()),
        "failed": failed,
        "rss_first": first["rss"],
        "rss_half": course.notes[len(course.notes) // 2]["rss"],
        "rss_last": last["rss"],
        "rss_most": max(each["rss"] for each in course.notes),
        "mib_an_hour": round(course.slope, 1),
        "files_first": first["files"],
        "files_last": last["files"],
        "rows_left": last["rows"],
        "counts": dict(sorted(counts.items())),
    }


def show(counts: Counter[str], course: Course) -> None:
    table = Table("what: status", "times", title="answered")
    for what, count in sorted(counts.items()):
        table.add_row(what, str(count))
    Console().print(table)
    table = Table("s", "RSS, MiB", "prompts, MiB", "files", "rows", title="the server")
    for note in course.notes[:: max(1, len(course.notes) // 20)]:
        table.add_row(*(f"{value:.1f}" for value in note.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
