"""vLLM as a way that takes turns with ours: its process, which lives in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from safetensors.torch import save_file

from benchmarks.rows import Asked, Batch
from benchmarks.serving import saved

ROOT = Path(__file__).parents[1]
SPACE = 1  # GiB for its keys and values
OPENMP = "libiomp5.so"  # vLLM's documentation says to preload it


class Connector(ABC):
    """How vLLM comes to the prefixes of tenants.

    Attributes:
        config: its `kv_transfer_config`.
    """

    config: dict[str, Any]

    @abstractmethod
    def named(self, tenant: int) -> dict[str, Any]:
        """The words for a tenant's prefix in a request."""


class Harness(Connector):
    """The least that can be: `benchmarks.vllm_prefix`, which checks nothing.

    Args:
        asked: whose prefixes.
        tenants: that have one.
        folder: for them.
    """

    def __init__(self, asked: Asked, tenants: int, folder: Path):
        for tenant in range(tenants):
            save_file({"prefix": asked.prefix(tenant).tensor.contiguous()}, folder / f"{tenant}.safetensors")
        self.config = {
            "kv_connector": "PrefixConnector",
            "kv_connector_module_path": "benchmarks.vllm_prefix",
            "kv_connector_extra_config": {"folder": str(folder)},
            "kv_role": "kv_both",
        }

    def named(self, tenant: int) -> dict[str, Any]:
        """The file's name."""
        return {"prefix": str(tenant)}


class Plugin(Connector):
    """softprompt's own plugin, which reads saved prompts by their content hashes; see `Harness`."""

    def __init__(self, asked: Asked, tenants: int, folder: Path):
        self._contents, self._P = list[str](), asked.P
        for tenant in range(tenants):
            prompt = saved(asked, asked.prefix(tenant), tenant)
            self._contents.append(prompt.manifest.content_hash.removeprefix("sha256:"))
            prompt.write(folder / self._contents[-1])
        self.config = {
            "kv_connector": "SoftpromptConnector",
            "kv_connector_extra_config": {"prompts": str(folder)},
            "kv_role": "kv_both",
        }

    def named(self, tenant: int) -> dict[str, Any]:
        """The prompt's hash, and how many positions it takes."""
        return {"softprompt": {"prompt": self._contents[tenant], "positions": self._P}}


class Vllm:
    """A vLLM that answers batches behind prefixes; between them it does nothing.

    Args:
        asked: what it will be asked.
        python: of the environment that has vLLM.
        model: the folder of the model.
        rows: at once, at most.
        connector: how it comes to their prefixes.
        log: the file for what it says.
        is_compiled: let it compile the model first, which takes minutes, instead of running it eagerly.
        space: GiB for its keys and values.

    Attributes:
        about: what it says that it is.
    """

    def __init__(
        self,
        asked: Asked,
        python: Path,
        model: Path,
        rows: int,
        connector: Connector,
        log: Path,
        is_compiled: bool,
        space: int = SPACE,
    ):
        self._asked, self._connector = asked, connector
        how, told = "compiled" if is_compiled else "eager", json.dumps(connector.config)
        command = [python.absolute(), "-m", "benchmarks.vllm_process", model, told, rows, asked.length, how]
        self._log = log
        with log.open("w", encoding="utf-8") as said:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env=environment(python, space),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
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
        return self._written(
            [
                {"ids": text, "positions": self._asked.P, "salt": str(tenant), "named": self._connector.named(tenant)}
                for tenant, text in enumerate(texts)
            ]
        )

    def answer_bare(self, texts: Batch, _round: int = 0) -> Batch:
        """What it writes behind each text, behind none."""
        return self._written([{"ids": text, "positions": 0, "salt": "none"} for text in texts])

    def _written(self, rows: list[dict[str, Any]]) -> Batch:
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


def environment(python: Path, space: int = SPACE) -> Mapping[str, str]:
    """That in which vLLM is at its best here. Each of its threads is bound to a core of its own, by itself."""
    openmp = python.absolute().parents[1] / "lib" / OPENMP
    own = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        "VLLM_CPU_KVCACHE_SPACE": str(space),
        "HF_HUB_OFFLINE": "1",
    }
    own |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    return {**os.environ, **own, **({"LD_PRELOAD": str(openmp)} if openmp.is_file() else {})}
