"""Where softprompt keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def get_cache_folder() -> Path:
    """The user's cache folder; the environment variable `SOFTPROMPT_CACHE` moves it."""
    return Path(os.environ.get("SOFTPROMPT_CACHE") or platformdirs.user_cache_dir("softprompt"))
