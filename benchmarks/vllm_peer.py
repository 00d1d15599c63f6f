"""vLLM as a way that takes turns with ours: its process, which lives in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from safetensors.torch import save_file

from benchmarks.rows import Asked, Batch

ROOT = Path(__file__).parents[1]
SPACE = 1  # GiB for its keys and values
OPENMP = "libiomp5.so"  # vLLM's documentation says to preload it


class Vllm:
    """A vLLM that answers batches behind prefixes; between them it does nothing.

    Args:
        asked: what it will be asked.
        python: of the environment that has vLLM.
        model: the folder of the model.
        rows: at once, at most.
        folder: for the prefixes, and what vLLM logs.
        is_compiled: let it compile the model first, which takes minutes, instead of running it eagerly.

    Attributes:
        about: what it says that it is.
    """

    def __init__(self, asked: Asked, python: Path, model: Path, rows: int, folder: Path, is_compiled: bool):
        self._asked = asked
        for tenant in range(rows):
            save_file({"prefix": asked.prefix(tenant).tensor.contiguous()}, folder / f"{tenant}.safetensors")
        how = "compiled" if is_compiled else "eager"
        command = [python.absolute(), "-m", "benchmarks.vllm_process", model, folder, rows, asked.length, how]
        self._log = folder / "vllm.log"
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env=environment(python),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.about: dict[str, str] = self._read()
        self._suspend()

    def __enter__(self) -> Vllm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._resume()
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            for each in self._processes():
                each.kill()

    def answer(self, texts: Batch, _round: int = 0) -> Batch:
        """What it writes behind each text, behind the prefix of a tenant of its own."""
        rows = [{"ids": text, "prefix": str(tenant), "positions": self._asked.P} for tenant, text in enumerate(texts)]
        assert self._process.stdin is not None
        self._resume()
        print(json.dumps({"new_tokens": self._asked.new_tokens, "rows": rows}), file=self._process.stdin, flush=True)
        tokens: Batch = self._read()
        self._suspend()
        return tokens

    def processor_seconds(self) -> float:
        """What its processes have had of the CPUs."""
        return sum(sum(each.cpu_times()[:2]) for each in self._processes())

    def _suspend(self) -> None:
        """Let it wait without waking up: even that, many times a second, delays whoever computes on all cores."""
        for each in self._processes():
            each.suspend()

    def _resume(self) -> None:
        for each in self._processes():
            each.resume()

    def _processes(self) -> list[psutil.Process]:
        main = psutil.Process(self._process.pid)
        return [main, *main.children(recursive=True)]

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"vLLM ended; the last that it said:\n{self._log.read_text('utf-8')[-2000:]}")
        return json.loads(line)


def environment(python: Path) -> Mapping[str, str]:
    """That in which vLLM is at its best here. Each of its threads is bound to a core of its own, by itself."""
    openmp = python.absolute().parents[1] / "lib" / OPENMP
    own = {"PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": str(SPACE), "HF_HUB_OFFLINE": "1"}
    own |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    return {**os.environ, **own, **({"LD_PRELOAD": str(openmp)} if openmp.is_file() else {})}
