"""What a server sets for its process, in a process of its own."""

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
    before = "import torch\ntorch.set_num_threads(2)\nfrom softprompt.server.process import prepare\n"
    ran = subprocess.run(
        [sys.executable, "-c", before + code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.split()


def test_no_call_is_divided_any_more_but_those_of_who_asks() -> None:
    code = """
import threading
print(prepare(), torch.get_num_threads())
thread = threading.Thread(target=lambda: print(torch.get_num_threads()))
thread.start()
thread.join()
"""
    assert said(code) == ["2", "1", "1"]


def test_kernels_stay_unless_the_environment_says_otherwise() -> None:
    code = 'import os\nprepare()\nprint(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"])'
    assert said(code) == ["512"]
    assert said(code, ONEDNN_PRIMITIVE_CACHE_CAPACITY="64") == ["64"]


@pytest.mark.skipif(sys.platform != "linux", reason="arenas are glibc's")
def test_threads_share_arenas_unless_the_environment_says_otherwise() -> None:
    assert said(f"prepare()\n{ARENAS}") == ["2"]
    assert said(f"prepare()\n{ARENAS}", MALLOC_ARENA_MAX="5") == ["5"]
