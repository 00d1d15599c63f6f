"""Measures peak memory: of the accelerator if the model is on one, otherwise of the process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

PROC_STATUS_PATH, PROC_CLEAR_REFS_PATH = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK_RSS = "5"  # proc(5): resets the peak resident set size


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # without this file, the peak since the process began is reported
            PROC_CLEAR_REFS_PATH.write_text(RESET_PEAK_RSS)


def get_peak_memory_bytes(device: torch.device) -> int | None:
    """Return the peak since the reset, weights and libraries included; None if the system does not report it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = dict(line.split(":", 1) for line in PROC_STATUS_PATH.read_text().splitlines() if ":" in line)
        return 1024 * int(lines["VmHWM"].split()[0])
    except (OSError, KeyError):
        return None
