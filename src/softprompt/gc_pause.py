"""Pause of Python's garbage collector while libraries are imported and models loaded.

No garbage arises meanwhile, but as objects accumulate, repeated collections take a quarter of the start-up time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_gc() -> Iterator[None]:
    """Disable the garbage collector inside the context, and restore its state afterwards."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
