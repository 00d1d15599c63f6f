"""A vLLM server that exits is started again at the same URL, with growing waits, until the gateway stops."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import httpx2
import psutil
import pytest

from softprompt.server.backends.vllm.local_server_supervisor import LocalServerSupervisor
from softprompt.server.backends.vllm.local_vllm_server import LocalVllmServer
from tests.ports import free_port
from tests.server.backends.vllm.test_local_vllm_server import SERVING, program
from tests.server.live_server import until


class ExitingServer:
    """A server that exits at once, and counts its starts."""

    is_running = False

    def __init__(self) -> None:
        self.starts: list[float] = []

    def start(self) -> None:
        self.starts.append(time.monotonic())
        if len(self.starts) == 2:
            raise OSError("no memory")

    def describe_exit(self) -> str:
        return "vLLM exited with code 7"


def test_a_killed_server_is_started_again_without_its_old_child_processes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    words = ["--port", str(port)]
    with LocalVllmServer(program(tmp_path, SERVING), words, port) as server:
        server.wait_until_ready()
        child = int(server.log_file.read_text().split()[1])
        with LocalServerSupervisor(server, first_wait_s=0.05) as supervisor:
            [process] = [each for each in psutil.process_iter() if words[1] in _get_command(each)]
            os.kill(process.pid, signal.SIGKILL)
            until(lambda: server.log_file.read_text().count("began") == 2)
            server.wait_until_ready()
            assert httpx2.get(f"{server.url}/health").status_code == 200
            assert supervisor.is_alive
        assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
        assert not supervisor.is_alive
    assert not server.is_running
    assert "exited with code -9" in caplog.text


def test_waits_between_restarts_double_and_a_failed_start_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    server = ExitingServer()
    with caplog.at_level(logging.ERROR), LocalServerSupervisor(server, first_wait_s=0.02):
        until(lambda: len(server.starts) == 5)
    waits = [later - sooner for sooner, later in zip(server.starts, server.starts[1:], strict=False)]
    assert all(wait >= 0.02 * 2 ** (index + 1) for index, wait in enumerate(waits))
    assert "vLLM exited with code 7" in caplog.text
    assert "cannot be started: no memory" in caplog.text


def test_a_supervisor_that_waits_for_a_restart_stops_at_once() -> None:
    server = ExitingServer()
    with LocalServerSupervisor(server, first_wait_s=3600.0) as supervisor:
        assert supervisor.is_alive
    assert server.starts == []


def _get_command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
