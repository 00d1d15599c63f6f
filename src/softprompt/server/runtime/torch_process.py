"""Process-wide settings of a server that runs a model, applied before the first torch call."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

import torch

# Capacity of oneDNN's kernel cache. Products of up to 2,048 tokens have 96 distinct row counts (after padding) with
# four or five kernels each. LM heads of up to 64 decoding sequences have 32. So 512 is enough: no kernel is evicted and
# created again, which would cost time and fragment the memory.
ONEDNN_CACHE_CAPACITY = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")

# glibc gives each thread its own arena, up to eight per core, and an arena never shrinks below its largest use. With
# requests of different sizes every arena meets the largest one eventually.
MAX_MALLOC_ARENAS, M_ARENA_MAX = 2, -8


def configure_process() -> int:
    """Bound the memory of caches, and reserve the CPU cores for the model's thread.

    OpenMP's workers spin between two calls as long as there are no more workers than cores. Each thread that makes
    parallel calls has its own workers for its lifetime. With a second such thread all workers sleep between calls, and
    a step takes 30% longer. So from here on calls are single-threaded, except in a thread that sets its own number.

    Returns:
        Torch's previous number of threads.
    """
    os.environ.setdefault(*ONEDNN_CACHE_CAPACITY)
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError):  # not glibc
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, MAX_MALLOC_ARENAS)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return num_threads
