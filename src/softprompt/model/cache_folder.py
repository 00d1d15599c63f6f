"""The folder for files that softprompt can create again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def get_cache_folder() -> Path:
    """Return the user's cache folder; the environment variable `SOFTPROMPT_CACHE` moves it."""
    return Path(os.environ.get("SOFTPROMPT_CACHE") or platformdirs.user_cache_dir("softprompt"))
