"""Starts vLLM's own OpenAI server in its own process, in the environment created by `make vllm`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil

from benchmarks.lib.vllm_system import KV_CACHE_GIB, ROOT, build_environment
from softprompt.server.backends.vllm.local_vllm_server import find_free_port

MAX_MODEL_LEN, MAX_NUM_SEQS, BLOCK_SIZE = 2048, 64, 32
POLL_SECONDS = 0.5  # seconds between two checks whether the server is ready
LOG_TAIL_LINES = 12  # lines of the log in the error if it does not start


@contextmanager
def run_vllm_server(
    python_path: Path,
    model: Path,
    log_path: Path,
    *,
    is_compiled: bool = False,
    kv_transfer_config: Mapping[str, Any] | None = None,
    kv_cache_gib: int = KV_CACHE_GIB,
) -> Iterator[tuple[str, int]]:
    """Run a vLLM server of a model named `base`; yields its URL and its process id when it is ready.

    Args:
        python_path: Python of the environment with vLLM.
        model: folder of the model.
        log_path: file for the output of the server.
        is_compiled: compile the model first.
        kv_transfer_config: how it gets prefixes; None serves none.
        kv_cache_gib: size of its KV cache in GiB.
    """
    port = find_free_port()
    words = ["--model", model, "--served-model-name", "base", "--host", "127.0.0.1", "--port", port]
    words += [
        "--dtype",
        "float32",
        "--max-model-len",
        MAX_MODEL_LEN,
        "--max-num-seqs",
        MAX_NUM_SEQS,
        "--block-size",
        BLOCK_SIZE,
    ]
    words += [] if is_compiled else ["--enforce-eager"]
    words += [] if kv_transfer_config is None else ["--kv-transfer-config", json.dumps(kv_transfer_config)]
    command = [str(python_path.absolute()), "-m", "vllm.entrypoints.openai.api_server", *map(str, words)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=build_environment(python_path, kv_cache_gib),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_healthy(process, f"http://127.0.0.1:{port}", log_path)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        _stop_processes(process)


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log_path: Path) -> None:
    while process.poll() is None:
        with suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/health", timeout=5).status_code == httpx2.codes.OK:
                return
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
    lines = log_path.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
    raise SystemExit("\n".join(["vLLM did not start:", *lines]))


def _stop_processes(process: subprocess.Popen[bytes]) -> None:
    """Stop the process and its children."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        for each in (*children, process):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                each.kill()
    process.wait()
