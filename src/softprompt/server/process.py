"""What a server that runs a model sets for its whole process, before torch does anything in it."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

import torch

# How many kernels oneDNN keeps. Up to 2,048 tokens are multiplied as 96 numbers of rows (`filled`), each of which takes
# four or five, and up to 64 rows that write as 32 for the words: 512 at most. So none goes and comes again, which takes
# time, and leaves holes in the memory.
KERNELS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")

# glibc gives each thread an arena of its own, up to eight a core, and each of them keeps the most that was ever in it.
# Of requests that differ in size every arena meets the largest some day.
ARENAS, M_ARENA_MAX = 2, -8


def prepare() -> int:
    """Bound what is kept, and leave the cores to the thread that will run the model.

    The helpers that torch divides a call among stay awake for the next one, but only while there are no more of them
    than cores. Each thread whose calls are divided has helpers of its own, for as long as it lives; with a second such
    thread all of them sleep between any two calls, and a step takes 30% longer. So from here on no thread's calls are
    divided but those of one that asks for it.

    Returns:
        How many threads torch would have divided a call among.
    """
    os.environ.setdefault(*KERNELS)
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError):  # another libc
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return threads
