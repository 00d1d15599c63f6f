"""Start, limits and shutdown of the API server, and clients that disconnect."""

from __future__ import annotations

import contextlib
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from softprompt.errors import SettingError
from softprompt.model import FrozenModel
from softprompt.server.runtime.api_server import bind_socket
from softprompt.server.server_config import ServerConfig
from tests.server.live_server import BASE, Running, fill, running, until

LONG: Any = {
    "model": "answers",
    "messages": [{"role": "user", "content": "the film"}],
    "max_tokens": 100,
    "temperature": 0,
    "ignore_eos": True,
}


def test_a_disconnected_client_frees_its_slots(served: Running) -> None:
    slow = {**LONG, "n": 6}
    whole = served.post("/v1/chat/completions", LONG).json()
    with httpx2.stream(
        "POST", f"{served.url}/v1/chat/completions", json={**slow, "stream": True}, timeout=60
    ) as stream:
        next(stream.iter_lines())
    until(lambda: not served.rows)
    with contextlib.suppress(httpx2.TimeoutException):
        httpx2.post(f"{served.url}/v1/chat/completions", json=slow, timeout=0.05)
    until(lambda: not served.rows)
    again = served.post("/v1/chat/completions", LONG).json()
    assert again["choices"][0]["message"]["content"] == whole["choices"][0]["message"]["content"]


def test_a_full_queue_returns_429(tmp_path: Path, chatting: FrozenModel) -> None:
    with running(tmp_path / "store", chatting, max_num_seqs=1, max_waiting_requests=1) as server:
        body = {"model": BASE, "prompt": "the film", "max_tokens": 100, "ignore_eos": True, "n": 5}
        answer = server.post("/v1/completions", body)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "queue_full"
        until(lambda: not server.rows)
        assert server.post("/v1/completions", {**body, "n": 1}).status_code == 200


def test_a_timeout_returns_504(tmp_path: Path, chatting: FrozenModel) -> None:
    with running(tmp_path / "store", chatting, request_timeout=0.001) as server:
        body = {"model": BASE, "prompt": "the film", "max_tokens": 100, "ignore_eos": True}
        answer = server.post("/v1/completions", body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        streamed = server.post("/v1/completions", {**body, "stream": True})
        assert '"code": "timeout"' in streamed.text
        assert "[DONE]" not in streamed.text


def test_configured_limits_are_enforced(tmp_path: Path, chatting: FrozenModel) -> None:
    with running(
        tmp_path / "store", chatting, max_completion_tokens=5, sequences_per_minute=3, max_body_bytes=1000
    ) as server:
        body = {"model": BASE, "prompt": "the film", "max_tokens": 6}
        assert server.refused("/v1/completions", body)[1]["param"] == "max_tokens"
        chat = server.post("/v1/chat/completions", {**LONG, "model": BASE, "max_tokens": None}).json()
        assert chat["usage"]["completion_tokens"] == 5
        assert server.post("/v1/completions", {**body, "prompt": "a" * 2000}).status_code == 413
        statuses = [server.post("/v1/completions", {**body, "max_tokens": 1}).status_code for _ in range(3)]
        assert statuses[-1] == 429, statuses
        assert server.post("/v1/prompts/any/rollback", {}).status_code == 429  # changes are requests too


def test_shutdown_finishes_running_requests_and_rejects_new_ones(tmp_path: Path, chatting: FrozenModel) -> None:
    with ThreadPoolExecutor(4) as pool, running(tmp_path / "store", chatting) as server:
        fill(server.store, chatting)
        body = {**LONG, "n": 4}
        expected = [choice["message"] for choice in server.post("/v1/chat/completions", body).json()["choices"]]
        with httpx2.Client(timeout=60) as kept:
            kept.get(f"{server.url}/ready").raise_for_status()
            running_ = [pool.submit(server.post, "/v1/chat/completions", body) for _ in range(2)]
            until(lambda: server.rows >= 8)
            server.server.drain()  # what a signal does first
            assert kept.get(f"{server.url}/ready").status_code == 503
            assert kept.get(f"{server.url}/health").status_code == 200
            refused = kept.post(f"{server.url}/v1/chat/completions", json=LONG)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        server.server.handle_exit(signal.SIGTERM, None)
        for each in running_:
            assert [choice["message"] for choice in each.result(60).json()["choices"]] == expected
    with pytest.raises(httpx2.ConnectError):
        server.get("/health")


def test_responses_are_sent_without_delay(served: Running) -> None:
    """Nagle's algorithm is off for whoever connects: it would hold every answer on a kept connection for 40 ms."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))):
        until(lambda: served.server.server_state.connections)
        for connection in served.server.server_state.connections:
            accepted = connection.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match=f"port {port} .*`port`"):
            bind_socket(ServerConfig(port=port))


@pytest.mark.parametrize("host", ["no.such.name.invalid", "203.0.113.7"])
def test_an_unusable_host_is_reported(host: str) -> None:
    with pytest.raises(SettingError, match=host):
        bind_socket(ServerConfig(host=host))


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"max_num_seqs": 0},
        {"max_model_len": 1},
        {"request_timeout": 0.0},
        {"host": "0.0.0.0", "auth_enabled": False},
    ],
)
def test_invalid_settings_are_rejected(wrong: Any) -> None:
    with pytest.raises(SettingError):
        ServerConfig(**wrong)
