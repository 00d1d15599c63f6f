"""vLLM as a compared system, in its own process and environment."""

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

from benchmarks.lib.serving_systems import make_saved_prompt
from benchmarks.lib.serving_workload import ServingWorkload, TokenBatch
from softprompt.vllm_protocol import PromptTransferParams, build_kv_transfer_config

ROOT = Path(__file__).parents[2]
KV_CACHE_GIB = 1  # size of the KV cache
OPENMP_LIBRARY = "libiomp5.so"  # vLLM's documentation says to preload it


class ConnectorSetup(ABC):
    """How vLLM gets the prefixes of tenants.

    Attributes:
        config: vLLM's `kv_transfer_config`.
    """

    config: dict[str, Any]

    @abstractmethod
    def get_request_params(self, tenant: int) -> dict[str, Any]:
        """Return the request parameters of a tenant's prefix."""


class MinimalConnectorSetup(ConnectorSetup):
    """`benchmarks.lib.minimal_connector`, which validates nothing.

    Args:
        workload: workload with the prefixes.
        tenants: number of tenants.
        folder: folder for the prefixes.
    """

    def __init__(self, workload: ServingWorkload, tenants: int, folder: Path):
        for tenant in range(tenants):
            save_file({"prefix": workload.get_prefix(tenant).tensor.contiguous()}, folder / f"{tenant}.safetensors")
        self.config = {
            "kv_connector": "PrefixConnector",
            "kv_connector_module_path": "benchmarks.lib.minimal_connector",
            "kv_connector_extra_config": {"folder": str(folder)},
            "kv_role": "kv_both",
        }

    def get_request_params(self, tenant: int) -> dict[str, Any]:
        """Return the name of the prefix's file."""
        return {"prefix": str(tenant)}


class PluginConnectorSetup(ConnectorSetup):
    """softprompt's plugin, which loads saved prompts by their digests. Args like `MinimalConnectorSetup`."""

    def __init__(self, workload: ServingWorkload, tenants: int, folder: Path):
        self._digests, self._P = list[str](), workload.P
        for tenant in range(tenants):
            prompt = make_saved_prompt(workload.model, workload.get_prefix(tenant), tenant)
            self._digests.append(prompt.manifest.content_hash.removeprefix("sha256:"))
            prompt.save_to(folder / self._digests[-1])
        self.config = build_kv_transfer_config(str(folder))

    def get_request_params(self, tenant: int) -> dict[str, Any]:
        """Return the prompt's digest and its number of positions."""
        return PromptTransferParams(self._digests[tenant], self._P).to_kv_transfer_params()


class VllmSystem:
    """A vLLM process that generates batches with prefixes; suspended between batches.

    Args:
        workload: inputs and prefixes.
        python_path: Python of the environment with vLLM.
        model: folder of the model.
        max_rows: maximum number of concurrent sequences.
        connector: how it gets the prefixes.
        log_path: file for its output.
        is_compiled: whether to compile the model first, which takes minutes, instead of eager mode.
        kv_cache_gib: size of its KV cache in GiB.

    Attributes:
        version_info: description of its environment.
    """

    def __init__(
        self,
        workload: ServingWorkload,
        python_path: Path,
        model: Path,
        max_rows: int,
        connector: ConnectorSetup,
        log_path: Path,
        is_compiled: bool,
        kv_cache_gib: int = KV_CACHE_GIB,
    ):
        self._workload, self._connector = workload, connector
        mode, config = "compiled" if is_compiled else "eager", json.dumps(connector.config)
        command = [
            python_path.absolute(),
            "-m",
            "benchmarks.lib.vllm_batch_process",
            model,
            config,
            max_rows,
            workload.max_length,
            mode,
        ]
        self._log_path = log_path
        with log_path.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env=build_environment(python_path, kv_cache_gib),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.version_info: dict[str, str] = self._read_message()
        self._suspend_processes()

    def __enter__(self) -> VllmSystem:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._resume_processes()
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            for each in self._list_processes():
                each.kill()

    def generate(self, texts: TokenBatch, _round: int = 0) -> TokenBatch:
        """Generate a response to each text with the prefix of its own tenant."""
        return self._generate(
            [
                {
                    "ids": text,
                    "positions": self._workload.P,
                    "salt": str(tenant),
                    "named": self._connector.get_request_params(tenant),
                }
                for tenant, text in enumerate(texts)
            ]
        )

    def generate_bare(self, texts: TokenBatch, _round: int = 0) -> TokenBatch:
        """Generate a response to each text without prefixes."""
        return self._generate([{"ids": text, "positions": 0, "salt": "none"} for text in texts])

    def _generate(self, requests: list[dict[str, Any]]) -> TokenBatch:
        assert self._process.stdin is not None
        self._resume_processes()
        print(
            json.dumps({"new_tokens": self._workload.new_tokens, "rows": requests}),
            file=self._process.stdin,
            flush=True,
        )
        tokens: TokenBatch = self._read_message()
        self._suspend_processes()
        return tokens

    def get_cpu_seconds(self) -> float:
        """Return the CPU seconds of its processes."""
        return sum(sum(each.cpu_times()[:2]) for each in self._list_processes())

    def _suspend_processes(self) -> None:
        """Suspend its processes: even idle ones wake up often, and delay processes that use all cores."""
        for each in self._list_processes():
            each.suspend()

    def _resume_processes(self) -> None:
        for each in self._list_processes():
            each.resume()

    def _list_processes(self) -> list[psutil.Process]:
        main = psutil.Process(self._process.pid)
        return [main, *main.children(recursive=True)]

    def _read_message(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"vLLM ended; the end of its log:\n{self._log_path.read_text('utf-8')[-2000:]}")
        return json.loads(line)


def build_environment(python_path: Path, kv_cache_gib: int = KV_CACHE_GIB) -> Mapping[str, str]:
    """Return the environment variables for best performance; vLLM binds each of its threads to a core."""
    openmp = python_path.absolute().parents[1] / "lib" / OPENMP_LIBRARY
    own = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib),
        "HF_HUB_OFFLINE": "1",
    }
    own |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    return {**os.environ, **own, **({"LD_PRELOAD": str(openmp)} if openmp.is_file() else {})}
