"""SIGTERM before a server accepts requests."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import softprompt.model as softprompt_model
from softprompt.cli import sigterm_handler
from softprompt.cli.sigterm_handler import EXIT_TERMINATED, SigtermReceived, exit_on_sigterm
from softprompt.registry import PromptRegistry
from softprompt.server.backends.vllm import local_vllm_server
from tests.cli.conftest import Softprompt
from tests.registry.factories import check_whole
from tests.server.live_server import until

REPLICA = ("--backend", "vllm", "--replica", "http://127.0.0.1:1")


def be_terminated(*_: Any, **__: Any) -> None:
    """Send SIGTERM in the middle of a long phase."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with PromptRegistry.open(tmp_path / "store", create=True):
        pass
    return tmp_path / "store"


def check_ended(softprompt: Softprompt, store: Path, base: Path, *typed: object) -> None:
    """Check that the process reported SIGTERM, freed its port, and left the registry intact."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = signal.getsignal(signal.SIGTERM)
    ran = softprompt("serve", "--model", base, "--store", store, "--port", port, *typed)
    assert ran.code == EXIT_TERMINATED == 143
    assert "stopped while starting by SIGTERM" in ran.err
    assert "Traceback" not in ran.err
    assert "Serving" not in ran.err + ran.out
    assert signal.getsignal(signal.SIGTERM) is before
    socket.create_server(("127.0.0.1", port)).close()
    with PromptRegistry.open(store) as opened:
        check_whole(opened)


@pytest.mark.parametrize(("loading", "typed"), [("load_model", ()), ("load_meta_model", REPLICA)])
def test_sigterm_while_the_model_loads_stops_the_server_with_a_message(
    loading: str,
    typed: tuple[str, ...],
    softprompt: Softprompt,
    store: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(softprompt_model, loading, be_terminated)
    check_ended(softprompt, store, base, *typed)


def test_sigterm_while_a_gateway_waits_for_its_vllm_server_stops_both(
    softprompt: Softprompt, store: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = list[str]()

    class Replica:
        log_file, wait_until_ready = Path("vllm.log"), be_terminated

    @contextmanager
    def started(*_: Any) -> Iterator[Replica]:
        try:
            yield Replica()
        finally:
            ended.append("vllm")

    monkeypatch.setattr(local_vllm_server, "build_server", started)
    monkeypatch.setattr(local_vllm_server, "find_interpreter", lambda _: "python")
    check_ended(softprompt, store, base, "--backend", "vllm")
    assert ended == ["vllm"]


def test_a_process_that_does_not_stop_exits_after_a_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = list[int]()
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(sigterm_handler, "FORCED_EXIT_DELAY_S", 0.01)
    with exit_on_sigterm("while it does not listen"):
        try:
            be_terminated()
        except SigtermReceived:
            until(lambda: codes)
    assert codes == [EXIT_TERMINATED]
