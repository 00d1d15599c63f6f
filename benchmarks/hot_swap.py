"""Is activating a version under load atomic? Many requests for one prompt while its versions are activated in turn.

    python -m benchmarks.hot_swap --model smollm2-135m --requests 2000 --swaps 200

Real HTTP: OpenAI's client, and a `softprompt serve` in its own process. First each version is requested alone, by its
number. Then clients request the bare name continuously, and after every few responses another version is activated.

- error: a failed request;
- mixture: a response whose tokens and probabilities are not those of the version that it names, or also those of
  another;
- late: a response of a version that was not active at any time during the request.

`swap_ms` is the time from an activation's call to the first request that gets the new version, `first_token_ms` from
the call to the first token of a request that is sent right after it, during the load. Prints a table, then one JSON
line.
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

from benchmarks.lib.server_process import GENERATION_TASK, ServerProcess, make_random_prompt, run_server, upload_prompt

PROMPT_NAME, INPUT_TEXT = "reviews", "the film was great fun"
LOGPROB_TOLERANCE = 2e-3  # probabilities differ from those of a single sequence only by the order of summation


@dataclass(frozen=True)
class ServedAnswer:
    """A response; `numbers` are the probabilities of its tokens."""

    model: str
    text: str
    logprobs: tuple[float, ...]

    def is_close_to(self, other: ServedAnswer) -> bool:
        if self.text != other.text or len(self.logprobs) != len(other.logprobs):
            return False
        return all(abs(one - two) < LOGPROB_TOLERANCE for one, two in zip(self.logprobs, other.logprobs, strict=True))


@dataclass
class SwapLog:
    """Times in seconds: `swaps` as (version, call, return), `answers` as (sent, received, response)."""

    answers: list[tuple[float, float, ServedAnswer]] = field(default_factory=list)
    swaps: list[tuple[str, float, float]] = field(default_factory=list)
    first_token_seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def main() -> None:
    arguments = parse_arguments()
    with (
        tempfile.TemporaryDirectory() as folder,
        run_server(
            arguments.model, Path(folder), ["--max-num-seqs", str(arguments.clients + 1), "--max-model-len", "128"]
        ) as served,
    ):
        versions = [
            upload_prompt(served, PROMPT_NAME, make_random_prompt(served.model, GENERATION_TASK, seed))
            for seed in range(arguments.versions)
        ]
        alone = {version: asyncio.run(request_alone(served, version, arguments.tokens)) for version in versions}
        check_answers_differ(alone)
        seen = SwapLog(swaps=[(versions[-1], 0.0, 0.0)])
        swapping = threading.Thread(target=run_swaps, args=(served, versions, arguments, seen))
        swapping.start()
        asyncio.run(run_clients(served, arguments, seen, swapping))
        swapping.join()
    found = summarize_swaps(seen, alone)
    table = Table("requests", "swaps", "errors", "mixtures", "late", "swap, ms", "worst", "to the first token, ms")
    table.add_row(
        *(str(found[name]) for name in ("requests", "swaps", "errors", "mixtures", "late")),
        *(f"{found[part][which]:.1f}" for part, which in (("swap_ms", "median"), ("swap_ms", "worst"))),
        f"{found['first_token_ms']['median']:.1f}",
    )
    Console().print(table)
    chosen = " ".join(f"--{name} {value}" for name, value in vars(arguments).items())
    command = f"python -m benchmarks.hot_swap {chosen}"
    print(json.dumps({"benchmark": "swapping", **found, "model": arguments.model, "command": command}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="tiny (random weights) for a quick trial, or a model")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--versions", type=int, default=8)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=4, help="tokens of a response")
    return parser.parse_args()


async def request_completion(client: openai.AsyncOpenAI, model: str, tokens: int) -> ServedAnswer:
    answer = await client.completions.create(
        model=model, prompt=INPUT_TEXT, max_tokens=tokens, temperature=0, logprobs=0, extra_body={"ignore_eos": True}
    )
    logprobs: Any = answer.choices[0].logprobs
    return ServedAnswer(answer.model, answer.choices[0].text, tuple(logprobs.token_logprobs))


def create_client(server: ServerProcess) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.api_key, max_retries=0, timeout=120)


async def request_alone(server: ServerProcess, version: str, tokens: int) -> ServedAnswer:
    async with create_client(server) as client:
        return await request_completion(client, version, tokens)


def check_answers_differ(expected_answers: dict[str, ServedAnswer]) -> None:
    """Check that the versions give different responses, so that a mixture is visible."""
    expected = list(expected_answers.values())
    if any(one.is_close_to(two) for i, one in enumerate(expected) for two in expected[:i]):
        raise SystemExit("two versions answer alike: ask for more tokens")


async def run_clients(
    server: ServerProcess, arguments: argparse.Namespace, swap_log: SwapLog, swap_thread: threading.Thread
) -> None:
    """Run clients that send one request after the other: the requested number, and more until all swaps are done."""

    async def repeat_requests(client: openai.AsyncOpenAI) -> None:
        while len(swap_log.answers) + len(swap_log.errors) < arguments.requests or swap_thread.is_alive():
            sent = time.perf_counter()
            try:
                answer = await request_completion(client, PROMPT_NAME, arguments.tokens)
            except openai.APIError as error:
                swap_log.errors.append(repr(error))
            else:
                swap_log.answers.append((sent, time.perf_counter(), answer))

    async with create_client(server) as client:
        await asyncio.gather(*(repeat_requests(client) for _ in range(arguments.clients)))


def run_swaps(server: ServerProcess, versions: Sequence[str], arguments: argparse.Namespace, swap_log: SwapLog) -> None:
    """Activate another version after every few responses."""
    draw, each = random.Random(0), arguments.requests / arguments.swaps
    with httpx2.Client(headers=server.headers, timeout=120) as client:
        for number in range(arguments.swaps):
            while len(swap_log.answers) + len(swap_log.errors) < number * each:
                time.sleep(0.001)
            version = draw.choice([version for version in versions if version != swap_log.swaps[-1][0]])
            called = time.perf_counter()
            place = f"{server.url}/v1/prompts/{PROMPT_NAME}/activate"
            client.post(place, json={"version": int(version.partition("@")[2])}).raise_for_status()
            swap_log.swaps.append((version, called, time.perf_counter()))
            body = {"model": PROMPT_NAME, "prompt": INPUT_TEXT, "max_tokens": 1, "temperature": 0, "stream": True}
            with client.stream("POST", f"{server.url}/v1/completions", json=body) as stream:
                chunk = json.loads(next(iter(stream.iter_lines())).removeprefix("data: "))
                swap_log.first_token_seconds.append(time.perf_counter() - called)
            if chunk["model"] != version:
                swap_log.errors.append(f"{chunk['model']} answered after the swap to {version}")


def summarize_swaps(swap_log: SwapLog, expected_answers: dict[str, ServedAnswer]) -> dict[str, Any]:
    mixtures = sum(not _is_of_one_version(answer, expected_answers) for _, _, answer in swap_log.answers)
    late = sum(
        answer.model not in _get_active_versions(sent, there, swap_log.swaps)
        for sent, there, answer in swap_log.answers
    )
    first = [
        1000 * _get_seconds_to_first_answer(version, called, back, swap_log)
        for version, called, back in swap_log.swaps[1:]
    ]
    return {
        "requests": len(swap_log.answers) + len(swap_log.errors),
        "swaps": len(first),
        "versions_that_answered": len({answer.model for _, _, answer in swap_log.answers}),
        "errors": len(swap_log.errors),
        "kinds_of_errors": sorted(set(swap_log.errors))[:5],
        "mixtures": mixtures,
        "late": late,
        "swap_ms": _summarize_values(first),
        "first_token_ms": _summarize_values([1000 * each for each in swap_log.first_token_seconds]),
    }


def _is_of_one_version(answer: ServedAnswer, expected_answers: dict[str, ServedAnswer]) -> bool:
    return [version for version, expected in expected_answers.items() if answer.is_close_to(expected)] == [answer.model]


def _get_active_versions(sent_at: float, answered_at: float, swaps: Sequence[tuple[str, float, float]]) -> set[str]:
    """Return the versions that were active at some moment during a request."""
    before = [version for version, _, back in swaps if back <= sent_at]
    return {before[-1], *(version for version, called, back in swaps if called < answered_at and back > sent_at)}


def _get_seconds_to_first_answer(version: str, called_at: float, returned_at: float, swap_log: SwapLog) -> float:
    """Return the seconds from a swap's call to the first request that got its version."""
    came = [
        sent for sent, _, answer in swap_log.answers if answer.model == version and called_at <= sent <= returned_at
    ]
    return min([*came, returned_at]) - called_at


def _summarize_values(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 2), "worst": round(max(values), 2)}


if __name__ == "__main__":
    main()
