"""Temporary folders of tests in memory, if the machine has enough.

Tests write, flush and delete thousands of small files, and flushing to a disk takes longer than most tests. For a
killed process, a full disk or a lock, memory is as good.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM = 4 * 2**30  # bytes; few are in use at a time, since folders of passed tests are deleted at once


def in_memory() -> None:
    """Put the temporary folders of pytest and of this process into memory."""
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
        tempfile.tempdir = os.environ["PYTEST_DEBUG_TEMPROOT"]
