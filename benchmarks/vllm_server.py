"""vLLM's own OpenAI server in a process of its own, in the environment that `make vllm` makes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import psutil

from benchmarks.vllm_peer import ROOT, environment
from softprompt.server.gateway.own import free_port

LENGTH, ROWS, BLOCK = 2048, 64, 32
LOOK = 0.5  # seconds between two looks whether it has begun
SHOWN = 12  # last lines of its log, when it does not begin


@contextmanager
def vllm_serving(python: Path, model: Path, log: Path, *, is_compiled: bool = False) -> Iterator[tuple[str, int]]:
    """A server of a model, which it calls `base`; gives its address and its process' id, once it answers.

    Args:
        python: of the environment that has vLLM.
        model: the model's folder.
        log: the file for what it says.
        is_compiled: let it compile the model first.
    """
    port = free_port()
    words = ["--model", model, "--served-model-name", "base", "--host", "127.0.0.1", "--port", port]
    words += ["--dtype", "float32", "--max-model-len", LENGTH, "--max-num-seqs", ROWS, "--block-size", BLOCK]
    words += [] if is_compiled else ["--enforce-eager"]
    command = [str(python.absolute()), "-m", "vllm.entrypoints.openai.api_server", *map(str, words)]
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(python), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        _end(process)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    while process.poll() is None:
        with suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/health", timeout=5).status_code == httpx2.codes.OK:
                return
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK)
    lines = log.read_text("utf-8", "replace").splitlines()[-SHOWN:]
    raise SystemExit("\n".join(["vLLM did not start:", *lines]))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it, and whatever it started."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        for each in (*children, process):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                each.kill()
    process.wait()
