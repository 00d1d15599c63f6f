"""A vLLM server on this machine that starts and stops with the gateway."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import torch

from softprompt.errors import SettingError
from softprompt.model import FrozenModel
from softprompt.model.bundled_models import BUNDLED_MODELS
from softprompt.model.model_files import resolve_model_files
from softprompt.server.backends.vllm.replica_options import REQUIRED_OPTIONS, count_spare_sequences
from softprompt.server.backends.vllm.shared_step_limit import MAX_PREFILL_TOKENS
from softprompt.server.server_config import ServerConfig
from softprompt.thread_wait_policy import remove_own_choice
from softprompt.vllm_protocol import build_kv_transfer_config

LOG_TAIL_LINES = 12  # log lines in the message of a failed start
STOP_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.2


def find_interpreter(program: str) -> str:
    """Find the Python interpreter of vLLM's environment, next to vLLM's program.

    The program itself fails in vLLM's distribution for CPUs, where it looks for the usual distribution.

    Args:
        program: name or path of the program.

    Raises:
        SettingError: the program or the interpreter does not exist.
    """
    path = shutil.which(program)
    interpreter = None if path is None else Path(path).resolve().with_name("python")
    if interpreter is None or not interpreter.exists():
        raise SettingError(
            f'cannot find the program {program}: pass `vllm_command="/path/to/bin/vllm"` (of a separate environment '
            'with softprompt[vllm]), or the URLs of running servers as `replica="URL"`'
        )
    return str(interpreter)


def build_arguments(
    model: str,
    artifact_location: str,
    *,
    max_model_len: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    dtype: str,
    port: int,
) -> list[str]:
    """Build the interpreter's arguments for a replica; docs/gateway.md has the command to start one by hand.

    Args:
        model: folder or Hub id of the base model.
        artifact_location: location of the saved prompts.
        max_model_len: maximum positions of a sequence.
        max_num_seqs: maximum sequences that run at the same time.
        max_num_batched_tokens: maximum tokens of a step, on a CPU; an accelerator has vLLM's default.
        dtype: precision, as a value of vLLM's option.
        port: local port.
    """
    options: dict[str, Any] = {
        "model": model,
        "host": "127.0.0.1",
        "port": port,
        "dtype": dtype,
        "max-model-len": max_model_len,
        "max-num-seqs": max_num_seqs,
        **REQUIRED_OPTIONS,
        "kv-transfer-config": json.dumps(build_kv_transfer_config(artifact_location)),
    }
    if not torch.accelerator.is_available():
        options["block-size"] = 32  # vLLM's minimum on a CPU
        options["max-num-batched-tokens"] = max(max_num_batched_tokens, max_num_seqs)  # its default takes seconds
        # Each token makes a step longer, so each token of other requests would wait for as many tokens of a long text
        # as a step may have. vLLM does not apply the limit to a request that is alone.
        options["long-prefill-token-threshold"] = min(MAX_PREFILL_TOKENS, max_model_len)
    arguments = [argument for name, value in options.items() for argument in (f"--{name}", str(value)) if argument]
    return ["-m", "vllm.entrypoints.openai.api_server", *arguments]


class LocalVllmServer:
    """A vLLM server in a process group of its own, which a context manager starts and stops.

    Args:
        executable: Python interpreter.
        arguments: arguments of the interpreter.
        port: local port of the server.
        kv_cache_bytes: bytes of RAM for keys and values on a CPU, unless the environment has vLLM's variable for them.

    Attributes:
        url: base URL of the server.
        log_file: file with the output of the server, in a temporary folder.
    """

    def __init__(
        self, executable: str, arguments: Sequence[str], port: int, *, kv_cache_bytes: int = ServerConfig.kv_cache_bytes
    ):
        self.url = f"http://127.0.0.1:{port}"
        self.log_file = Path(tempfile.mkdtemp(prefix="softprompt-vllm-")) / "vllm.log"
        self._command = [executable, *arguments]
        self._environment = {
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": str(max(1, kv_cache_bytes // 2**30)),  # GiB; else vLLM takes a share of all RAM
            **remove_own_choice(os.environ),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, without waiting until it is ready. One that has exited is started again."""
        self._kill_group(signal.SIGKILL)  # the child processes of a server that was killed would keep their memory
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only the gateway, which finishes running requests first
                preexec_fn=_set_parent_death_signal,
                env=self._environment,
            )

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def describe_exit(self) -> str:
        """Describe how the process ended, with the end of its log."""
        tail = self.log_file.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
        status = None if self._process is None else self._process.returncode
        return "\n".join([f"vLLM exited with code {status} (full log: {self.log_file}):", *tail])

    def wait_until_ready(self) -> None:
        """Wait until the server is healthy.

        Raises:
            SettingError: the server has exited.
        """
        with httpx2.Client(trust_env=False, timeout=5.0) as client:
            while self.is_running:
                with suppress(httpx2.TransportError):
                    if client.get(f"{self.url}/health").status_code == httpx2.codes.OK:
                        return
                time.sleep(POLL_INTERVAL_S)
        raise SettingError(self.describe_exit())

    def stop(self) -> None:
        """Stop the server and its child processes. Keeps the log of a server that had exited by itself."""
        has_failed = not self.is_running
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            self._kill_group(signal_number)
            with suppress(subprocess.TimeoutExpired):
                if self._process is not None:
                    self._process.wait(STOP_TIMEOUT_S)
        if not has_failed:
            shutil.rmtree(self.log_file.parent, ignore_errors=True)

    def _kill_group(self, signal_number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal_number)

    def __enter__(self) -> LocalVllmServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def build_server(
    executable: str, config: ServerConfig, model: FrozenModel, artifact_location: str, dtype: str
) -> LocalVllmServer:
    """Build a vLLM server of the gateway's size, which is not started.

    Args:
        executable: Python interpreter of vLLM's environment.
        config: configuration of the gateway.
        model: base model, without weights.
        artifact_location: location of the saved prompts.
        dtype: precision, as a value of softprompt's option.

    Raises:
        SettingError: vLLM does not support the precision.
    """
    port = find_free_port()
    arguments = build_arguments(
        _resolve_model_path(model),
        artifact_location,
        max_model_len=min(config.max_model_len + 1, model.shape.window),
        max_num_seqs=config.max_num_seqs + count_spare_sequences(config.max_num_seqs),
        max_num_batched_tokens=config.max_num_batched_tokens,
        dtype=to_vllm_dtype(dtype),
        port=port,
    )
    return LocalVllmServer(executable, arguments, port, kv_cache_bytes=config.kv_cache_bytes)


def to_vllm_dtype(dtype: str) -> str:
    """Convert a precision to a value of vLLM's option.

    Raises:
        SettingError: vLLM does not support the precision.
    """
    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise SettingError(f'`dtype={dtype!r}`: with `backend="vllm"` choose auto, float32, bfloat16 or float16')
    on_cpu = dtype == "auto" and not torch.accelerator.is_available()
    return "float32" if on_cpu else dtype  # as in `load_model`; vLLM's default would round


def _resolve_model_path(model: FrozenModel) -> str:
    """Return the folder or Hub id from which vLLM loads the base model."""
    unpacked = model.name in BUNDLED_MODELS or model.name.endswith(".gguf")
    return str(resolve_model_files(model.name).folder) if unpacked else model.name


def find_free_port() -> int:
    """Return a free local port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _set_parent_death_signal() -> None:
    """Have Linux terminate vLLM if the gateway is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
