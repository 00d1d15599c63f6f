"""Where tests write: in memory, where the machine has room for it.

Thousands of small files are written, flushed and deleted, and a flush to a disk takes longer than most tests do. To a
killed process, a full disk or a lock the one is as good as the other.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM = 4 * 2**30  # bytes; few are needed at a time, for the folders of tests that pass are deleted at once


def in_memory() -> None:
    """Let pytest's folders be there, and this process's other temporary ones."""
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
        tempfile.tempdir = os.environ["PYTEST_DEBUG_TEMPROOT"]
