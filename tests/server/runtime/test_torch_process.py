"""Settings of the server's process, each tested in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

ARENAS = """
import ctypes, tempfile, threading
libc = ctypes.CDLL(None)
together = threading.Barrier(8)
def take():
    together.wait()
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as told:
    file = ctypes.c_void_p(libc.fopen(told.name.encode(), b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
    print(told.read().count(b"<heap nr"))
"""


def said(code: str, **environment: Any) -> list[str]:
    """What is printed by code behind the preparation, which may use two threads."""
    chosen = ("MALLOC_ARENA_MAX", "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "OMP_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    before = (
        "import torch\ntorch.set_num_threads(2)\n"
        "from softprompt.server.runtime.torch_process import configure_process\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", before + code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.split()


def test_torch_calls_are_single_threaded_by_default() -> None:
    code = """
import threading
print(configure_process(), torch.get_num_threads())
thread = threading.Thread(target=lambda: print(torch.get_num_threads()))
thread.start()
thread.join()
"""
    assert said(code) == ["2", "1", "1"]


def test_the_kernel_cache_size_can_be_overridden() -> None:
    code = 'import os\nconfigure_process()\nprint(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"])'
    assert said(code) == ["512"]
    assert said(code, ONEDNN_PRIMITIVE_CACHE_CAPACITY="64") == ["64"]


@pytest.mark.skipif(sys.platform != "linux", reason="arenas are glibc's")
def test_the_number_of_malloc_arenas_can_be_overridden() -> None:
    assert said(f"configure_process()\n{ARENAS}") == ["2"]
    assert said(f"configure_process()\n{ARENAS}", MALLOC_ARENA_MAX="5") == ["5"]
