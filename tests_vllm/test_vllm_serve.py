"""`vllm serve` with the plugin, in processes of its own, with requests over HTTP like those of a gateway."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from softprompt.model import FrozenModel
from softprompt.vllm_protocol import (
    UNKNOWN_PROMPT_DIGEST,
    PromptTransferParams,
    build_kv_transfer_config,
    is_plugin_error,
)
from tests.ports import free_port
from tests_vllm.factories import Prompt, Row, drawn, expected, put, tiny
from tests_vllm.in_process_engine import BLOCK

PATIENCE = 240  # seconds for it to start
POSITIONS = 40


@dataclass
class Replica:
    """A server that runs.

    Attributes:
        url: where.
        model: what it serves, as this process has it.
        place: where its prompts are.
        process: it.
        log: what it has said.
    """

    url: str
    model: FrozenModel
    place: Path
    process: subprocess.Popen[bytes]
    log: Path

    def body(self, row: Row, **more: Any) -> dict[str, Any]:
        """A request as the gateway makes it."""
        parameters = {"kv_transfer_params": row.parameters} if row.parameters else {}
        return {
            "model": self.model.name,
            "prompt": row.tokens,
            "cache_salt": row.salt,
            "max_tokens": 6,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
            **parameters,
            **more,
        }

    def ask(self, body: dict[str, Any]) -> httpx2.Response:
        return httpx2.post(f"{self.url}/v1/completions", json=body, timeout=60)

    def counted(self) -> dict[str, float]:
        """The plugin's counters."""
        text = httpx2.get(f"{self.url}/metrics", timeout=60).text
        return {
            name: float(value) for name, value in re.findall(r"^vllm:softprompt_(\w+)_total\{.*\} (\S+)$", text, re.M)
        }


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("served")
    model, place, port = tiny(folder / "tiny"), folder / "store" / "prompts", free_port()
    # What `vllm serve` does; that command does not start in the distribution for CPUs, which looks for the usual one.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "tiny")]
    command += ["--port", str(port), "--host", "127.0.0.1", "--dtype", "float32", "--block-size", str(BLOCK)]
    command += ["--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "8", "--num-gpu-blocks-override", "64"]
    command += ["--kv-transfer-config", json.dumps(build_kv_transfer_config(str(place)))]
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_LOGGING_LEVEL": "INFO"}
    log = folder / "log.txt"
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file, env=environment) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url, process, log)
            yield Replica(url, model, place, process, log)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx2.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"it did not start: {log.read_text('utf-8', 'replace')[-4000:]}")


@pytest.fixture
def prompt(replica: Replica, request: pytest.FixtureRequest) -> Prompt:
    """One that no other test has."""
    return put(replica.place, replica.model, drawn(replica.model, POSITIONS, sum(map(ord, request.node.name))))


def text(number: int, length: int = 6) -> list[int]:
    return [3 + (number * 7 + at * 13) % 500 for at in range(length)]


def test_the_log_states_versions_prompts_and_model(replica: Replica) -> None:
    said = replica.log.read_text("utf-8")
    assert re.search(r"softprompt \S+ in vLLM \S+ \(supported: >=0\.32\.0,<0\.33\)", said)
    assert f"prompts of {replica.place} for {replica.model.name} ({replica.model.fingerprint})" in said


def test_http_responses_equal_those_of_the_engine(replica: Replica, prompt: Prompt) -> None:
    rows = [Row(text(1), prompt), Row(text(2)), Row(text(3), prompt)]
    for row, right in zip(rows, expected(replica.model, rows, 6), strict=True):
        answer = replica.ask(replica.body(row)).raise_for_status().json()
        assert answer["choices"][0]["token_ids"] == right.tokens
        assert answer["kv_transfer_params"] == row.parameters


def test_a_streamed_response_has_the_tokens_of_the_engine(replica: Replica, prompt: Prompt) -> None:
    row, tokens = Row(text(1), prompt), []
    with httpx2.stream(
        "POST", f"{replica.url}/v1/completions", json=replica.body(row, stream=True), timeout=60
    ) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                tokens += json.loads(line[6:])["choices"][0]["token_ids"]
    assert tokens == expected(replica.model, [row], 6)[0].tokens


def test_a_second_request_with_a_prompt_does_not_load_it_again(replica: Replica, prompt: Prompt) -> None:
    row = Row(text(1), prompt)
    replica.ask(replica.body(row)).raise_for_status()
    before = _settled(replica)
    replica.ask(replica.body(Row(text(2), prompt))).raise_for_status()
    after = _settled(replica)
    assert set(after) == {
        "prompt_loads",
        "prompt_cache_hits",
        "prompt_cache_evictions",
        *("prefix_positions_written", "requests_rejected"),
    }
    assert after["prompt_loads"] == before["prompt_loads"]
    assert (
        after["prefix_positions_written"] - before["prefix_positions_written"] == POSITIONS % BLOCK
    )  # the part of a block is each request's own


def _settled(replica: Replica) -> dict[str, float]:
    """The counters, once vLLM has told them: it does so at the end of a step."""
    before = replica.counted()
    while True:
        time.sleep(0.3)
        after = replica.counted()
        if after == before:
            return after
        before = after


REFUSED: dict[str, tuple[Callable[[Replica, Prompt], dict[str, Any]], str]] = {
    "the canary": (
        lambda r, p: r.body(Row(text(1), p), kv_transfer_params=_named(UNKNOWN_PROMPT_DIGEST)),
        "is missing",
    ),
    "log-probabilities of the prompt": (lambda r, p: r.body(Row(text(1), p), prompt_logprobs=1), "log-probabilities"),
    "echoed log-probabilities": (lambda r, p: r.body(Row(text(1), p), echo=True, logprobs=1), "log-probabilities"),
    "other positions": (
        lambda r, p: r.body(Row(text(1), p), kv_transfer_params=_named(p.asked.digest, POSITIONS - 1)),
        f"has {POSITIONS} positions",
    ),
    "a path": (
        lambda r, p: r.body(Row(text(1), p), kv_transfer_params=_named("../../../etc")),
        "64 hexadecimal",
    ),
    "another connector's parameters": (
        lambda r, p: r.body(Row(text(1), p), kv_transfer_params={"do_remote_prefill": True}),
        "nothing else",
    ),
}


def _named(content: str, positions: int = POSITIONS) -> dict[str, Any]:
    return PromptTransferParams(content, positions).to_kv_transfer_params()


@pytest.mark.parametrize("case", REFUSED)
def test_a_rejected_request_returns_400_with_the_reason(replica: Replica, prompt: Prompt, case: str) -> None:
    make, says = REFUSED[case]
    answer = replica.ask(make(replica, prompt))
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert is_plugin_error(message)
    assert says in message


def test_a_corrupt_prompt_returns_400(replica: Replica, prompt: Prompt) -> None:
    [file] = (replica.place / prompt.asked.digest).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    answer = replica.ask(replica.body(Row(text(1), prompt)))
    assert answer.status_code == 400
    assert is_plugin_error(answer.json()["error"]["message"])


def test_a_prompt_removed_after_validation_returns_500(replica: Replica, prompt: Prompt) -> None:
    """The process that speaks HTTP has seen it; the worker has not read it yet, since this request is the first."""
    row = Row(text(1), prompt)
    with_wrong_tokens = replica.body(row, prompt=[5] * POSITIONS + text(1))
    answer = replica.ask(with_wrong_tokens)  # is looked at, passes, and is refused by the scheduler
    assert answer.status_code == 500
    shutil.rmtree(replica.place / prompt.asked.digest)
    answer = replica.ask(replica.body(row))
    assert answer.status_code == 500
    assert "choices" not in answer.json()


@pytest.mark.parametrize("stream", [False, True])
def test_beam_search_is_rejected(replica: Replica, prompt: Prompt, stream: bool) -> None:
    """Its requests lose their prompt: their placeholders would be computed as text."""
    answer = replica.ask(replica.body(Row(text(1), prompt), use_beam_search=True, n=2, stream=stream))
    assert '"text"' not in answer.text
    assert answer.status_code >= 400 or '"error"' in answer.text


def test_the_replica_survives_all_rejections(replica: Replica, prompt: Prompt) -> None:
    assert replica.process.poll() is None
    row = Row(text(9), prompt)
    answer = replica.ask(replica.body(row)).raise_for_status().json()
    assert answer["choices"][0]["token_ids"] == expected(replica.model, [row], 6)[0].tokens
    assert _settled(replica)["requests_rejected"] >= 2
