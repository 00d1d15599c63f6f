"""`UnpackProgressLogger`: log lines while a GGUF file is dequantized."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 5.0  # seconds between two progress lines


class UnpackProgressLogger:
    """Logger of the progress every few seconds, in complete lines that also suit a log file."""

    def __init__(self, file_name: str):
        self.file_name, self.last_logged = file_name, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """See `Progress`."""
        now = time.monotonic()
        if now - self.last_logged >= PROGRESS_INTERVAL_S or done == total:
            self.last_logged = now
            logger.info("unpacking %s: %d%% of %.1f GB", self.file_name, 100 * done // total, total / 1e9)
