"""A vLLM server of the gateway's own: it begins with it and ends with it."""

from __future__ import annotations

import ctypes
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
from softprompt.model.embedded import EMBEDDED
from softprompt.model.locating import located
from softprompt.server.gateway.replica_options import REQUIRED_OPTIONS, kv_transfer_config, spare_rows
from softprompt.server.settings import ServerSettings
from softprompt.wait_policy import without_own_choice

SHOWN = 12  # last lines of its log, when it does not begin
PATIENCE = 10.0  # seconds that it has to end
LOOK = 0.2  # seconds between two looks whether it has begun


def interpreter(name: str) -> str:
    """The Python that vLLM is installed for, which stands beside its program.

    The program itself would do, but for vLLM's distribution for CPUs, where it looks for the usual one.

    Args:
        name: of the program, or where it is.

    Raises:
        SettingError: it is not there.
    """
    found = shutil.which(name)
    beside = None if found is None else Path(found).resolve().with_name("python")
    if beside is None or not beside.exists():
        raise SettingError(
            f'there is no {name} to start: name it with `vllm="/where/it/is/bin/vllm"` (it needs an environment of its '
            'own, with softprompt[vllm] in it), or servers that run already with `replica="URL"`'
        )
    return str(beside)


def arguments(model: str, prompts: str, *, length: int, slots: int, dtype: str, port: int) -> list[str]:
    """What Python is told to run vLLM as it serves prompts; docs/gateway.md has the same for who starts it by hand.

    Args:
        model: the base model's folder or Hub id.
        prompts: where the store's prompts lie.
        length: positions that a row may have.
        slots: rows that run at once.
        dtype: in vLLM's words.
        port: of this machine.
    """
    chosen: dict[str, Any] = {
        "model": model,
        "host": "127.0.0.1",
        "port": port,
        "dtype": dtype,
        "max-model-len": length,
        "max-num-seqs": slots,
        **REQUIRED_OPTIONS,
        "kv-transfer-config": kv_transfer_config(prompts),
    }
    if not torch.accelerator.is_available():
        chosen["block-size"] = 32  # the least that it takes on a CPU
    words = [word for name, value in chosen.items() for word in (f"--{name}", str(value)) if word]
    return ["-m", "vllm.entrypoints.openai.api_server", *words]


class OwnReplica:
    """A vLLM server in a process of its own, and all that it starts.

    Args:
        python: runs it.
        words: what it is started with.
        port: where it will listen.

    Attributes:
        url: its address.
        log: the file with what it says.
    """

    def __init__(self, python: str, words: Sequence[str], port: int):
        self.url = f"http://127.0.0.1:{port}"
        self.log = Path(tempfile.mkdtemp(prefix="softprompt-vllm-")) / "vllm.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the gateway, which lets it finish what runs
                preexec_fn=_end_with_parent,
                env={"VLLM_NO_USAGE_STATS": "1", **without_own_choice(os.environ)},
            )

    @property
    def is_running(self) -> bool:
        """It has not ended."""
        return self._process.poll() is None

    def wait(self) -> None:
        """Until it answers.

        Raises:
            SettingError: it has ended instead.
        """
        with httpx2.Client(trust_env=False, timeout=5.0) as client:
            while self.is_running:
                with suppress(httpx2.TransportError):
                    if client.get(f"{self.url}/health").status_code == httpx2.codes.OK:
                        return
                time.sleep(LOOK)
        said = self.log.read_text("utf-8", "replace").splitlines()[-SHOWN:]
        raise SettingError("\n".join([f"vLLM ended with {self._process.returncode} (all it said: {self.log}):", *said]))

    def end(self) -> None:
        """End it, and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)

    def __enter__(self) -> OwnReplica:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()


def started(python: str, settings: ServerSettings, model: FrozenModel, prompts: str, dtype: str) -> OwnReplica:
    """A vLLM server of a gateway's size, which has not begun to answer.

    Args:
        python: runs vLLM.
        settings: the gateway's.
        model: what it runs, without its weights.
        prompts: where the store's prompts lie.
        dtype: in our words.

    Raises:
        SettingError: vLLM knows no such precision.
    """
    port, length = free_port(), min(settings.length + 1, model.shape.window)
    slots = settings.slots + spare_rows(settings.slots)
    words = arguments(_folder(model), prompts, length=length, slots=slots, dtype=dtype_of(dtype), port=port)
    return OwnReplica(python, words, port)


def dtype_of(name: str) -> str:
    """A precision in vLLM's words.

    Raises:
        SettingError: it has none for it.
    """
    if name not in ("auto", "float32", "bfloat16", "float16"):
        raise SettingError(f'`dtype={name!r}`: with `backend="vllm"` choose auto, float32, bfloat16 or float16')
    on_cpu = name == "auto" and not torch.accelerator.is_available()
    return "float32" if on_cpu else name  # as `load_model` has it; vLLM would round


def _folder(model: FrozenModel) -> str:
    """Where vLLM finds the base model."""
    unpacked = model.name in EMBEDDED or model.name.endswith(".gguf")
    return str(located(model.name).folder) if unpacked else model.name


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _end_with_parent() -> None:
    """Should the gateway be killed, Linux ends its vLLM, too."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
