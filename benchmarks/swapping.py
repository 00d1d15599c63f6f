"""Does a swap under load ever show? Many requests for one prompt while its version is changed again and again.

    python -m benchmarks.swapping --model smollm2-135m --requests 2000 --swaps 200

Real HTTP: OpenAI's client, and a `softprompt serve` in a process of its own. Before, each version is asked alone, by
its number. Then clients ask for the bare name all the time, and after every so many answers another version is
activated.

- an error: a request that was not answered;
- a mixture: an answer whose tokens and probabilities are not those of the version that it names, or are another's too;
- late: an answer of a version that nobody could have meant any more when the request was sent, or not yet.

`swap_ms` goes from an activation's call to the first request that gets the new version, `first_token_ms` from the call
to the first token of a request that is sent right behind it, beside all the others. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
from rich.console import Console
from rich.table import Table

from benchmarks.served import WRITES, Served, bring, prompt, serving

NAME, TEXT = "reviews", "the film was great fun"
CLOSE = 2e-3  # probabilities are those of a pass alone, but for the order in which numbers are added


@dataclass(frozen=True)
class Said:
    """An answer; `numbers` are the probabilities of its tokens."""

    model: str
    text: str
    numbers: tuple[float, ...]

    def is_like(self, other: Said) -> bool:
        if self.text != other.text or len(self.numbers) != len(other.numbers):
            return False
        return all(abs(one - two) < CLOSE for one, two in zip(self.numbers, other.numbers, strict=True))


@dataclass
class Seen:
    """What happened, in seconds: `swaps` as version, call, return; `answers` as sent, there, said."""

    answers: list[tuple[float, float, Said]] = field(default_factory=list)
    swaps: list[tuple[str, float, float]] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def main() -> None:
    arguments = parsed()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(arguments.model, Path(folder), ["--slots", str(arguments.clients + 1), "--length", "128"]) as served,
    ):
        versions = [bring(served, NAME, prompt(served.model, WRITES, seed)) for seed in range(arguments.versions)]
        alone = {version: asyncio.run(asked_alone(served, version, arguments.tokens)) for version in versions}
        check_different(alone)
        seen = Seen(swaps=[(versions[-1], 0.0, 0.0)])
        swapping = threading.Thread(target=swap, args=(served, versions, arguments, seen))
        swapping.start()
        asyncio.run(load(served, arguments, seen, swapping))
        swapping.join()
    found = figures(seen, alone)
    table = Table("requests", "swaps", "errors", "mixtures", "late", "swap, ms", "worst", "to the first token, ms")
    table.add_row(
        *(str(found[name]) for name in ("requests", "swaps", "errors", "mixtures", "late")),
        *(f"{found[part][which]:.1f}" for part, which in (("swap_ms", "median"), ("swap_ms", "worst"))),
        f"{found['first_token_ms']['median']:.1f}",
    )
    Console().print(table)
    chosen = " ".join(f"--{name} {value}" for name, value in vars(arguments).items())
    command = f"python -m benchmarks.swapping {chosen}"
    print(json.dumps({"benchmark": "swapping", **found, "model": arguments.model, "command": command}))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="tiny: random numbers, to try the script out")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--versions", type=int, default=8)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=4, help="of an answer")
    return parser.parse_args()


async def ask(client: openai.AsyncOpenAI, model: str, tokens: int) -> Said:
    answer = await client.completions.create(
        model=model, prompt=TEXT, max_tokens=tokens, temperature=0, logprobs=0, extra_body={"ignore_eos": True}
    )
    logprobs: Any = answer.choices[0].logprobs
    return Said(answer.model, answer.choices[0].text, tuple(logprobs.token_logprobs))


def client_of(served: Served) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0, timeout=120)


async def asked_alone(served: Served, version: str, tokens: int) -> Said:
    async with client_of(served) as client:
        return await ask(client, version, tokens)


def check_different(alone: dict[str, Said]) -> None:
    """Else no mixture would be seen."""
    said = list(alone.values())
    if any(one.is_like(two) for i, one in enumerate(said) for two in said[:i]):
        raise SystemExit("two versions answer alike: ask for more tokens")


async def load(served: Served, arguments: argparse.Namespace, seen: Seen, swapping: threading.Thread) -> None:
    """Clients that ask one request after the other: as many as are wanted, and on while there are swaps to come."""

    async def keep_asking(client: openai.AsyncOpenAI) -> None:
        while len(seen.answers) + len(seen.errors) < arguments.requests or swapping.is_alive():
            sent = time.perf_counter()
            try:
                said = await ask(client, NAME, arguments.tokens)
            except openai.APIError as error:
                seen.errors.append(repr(error))
            else:
                seen.answers.append((sent, time.perf_counter(), said))

    async with client_of(served) as client:
        await asyncio.gather(*(keep_asking(client) for _ in range(arguments.clients)))


def swap(served: Served, versions: Sequence[str], arguments: argparse.Namespace, seen: Seen) -> None:
    """Activate another version whenever so many more were answered."""
    draw, each = random.Random(0), arguments.requests / arguments.swaps
    with httpx2.Client(headers=served.headers, timeout=120) as client:
        for number in range(arguments.swaps):
            while len(seen.answers) + len(seen.errors) < number * each:
                time.sleep(0.001)
            version = draw.choice([version for version in versions if version != seen.swaps[-1][0]])
            called = time.perf_counter()
            place = f"{served.url}/v1/prompts/{NAME}/activate"
            client.post(place, json={"version": int(version.partition("@")[2])}).raise_for_status()
            seen.swaps.append((version, called, time.perf_counter()))
            body = {"model": NAME, "prompt": TEXT, "max_tokens": 1, "temperature": 0, "stream": True}
            with client.stream("POST", f"{served.url}/v1/completions", json=body) as stream:
                chunk = json.loads(next(iter(stream.iter_lines())).removeprefix("data: "))
                seen.first_tokens.append(time.perf_counter() - called)
            if chunk["model"] != version:
                seen.errors.append(f"{chunk['model']} answered behind the swap to {version}")


def figures(seen: Seen, alone: dict[str, Said]) -> dict[str, Any]:
    mixtures = sum(not _is_of_one(said, alone) for _, _, said in seen.answers)
    late = sum(said.model not in _meant(sent, there, seen.swaps) for sent, there, said in seen.answers)
    first = [1000 * _first(version, called, back, seen) for version, called, back in seen.swaps[1:]]
    return {
        "requests": len(seen.answers) + len(seen.errors),
        "swaps": len(first),
        "versions_that_answered": len({said.model for _, _, said in seen.answers}),
        "errors": len(seen.errors),
        "kinds_of_errors": sorted(set(seen.errors))[:5],
        "mixtures": mixtures,
        "late": late,
        "swap_ms": _summary(first),
        "first_token_ms": _summary([1000 * each for each in seen.first_tokens]),
    }


def _is_of_one(said: Said, alone: dict[str, Said]) -> bool:
    return [version for version, expected in alone.items() if said.is_like(expected)] == [said.model]


def _meant(sent: float, there: float, swaps: Sequence[tuple[str, float, float]]) -> set[str]:
    """The versions that the name meant at some moment while a request was on its way."""
    before = [version for version, _, back in swaps if back <= sent]
    return {before[-1], *(version for version, called, back in swaps if called < there and back > sent)}


def _first(version: str, called: float, back: float, seen: Seen) -> float:
    """Seconds from a swap's call to the first request that got its version; the one right behind its return did."""
    came = [sent for sent, _, said in seen.answers if said.model == version and called <= sent <= back]
    return min([*came, back]) - called


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 2), "worst": round(max(values), 2)}


if __name__ == "__main__":
    main()
