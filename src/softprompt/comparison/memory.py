"""The most memory that was in use since a moment: the accelerator's if the model is there, else the process's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # proc(5): resets the peak resident set size


def forget_peak(device: torch.device) -> None:
    """Begin to measure."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # a system without it tells the peak since the process began
            CLEAR.write_text(FORGET_PEAK)


def peak_bytes(device: torch.device) -> int | None:
    """The most since then, the model's weights and the libraries included; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
        return 1024 * int(lines["VmHWM"].split()[0])
    except (OSError, KeyError):
        return None
