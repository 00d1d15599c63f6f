"""Describes the machine of a benchmark: results of two machines cannot be compared."""

from __future__ import annotations

import os
from importlib.metadata import version

import torch

LIBRARIES = ("torch", "transformers", "peft")


def describe_environment() -> str:
    """Return the cores, their vector instructions, and the versions of the libraries."""
    about = [f"{len(os.sched_getaffinity(0))} cores", torch.backends.cpu.get_cpu_capability(), "float32"]
    return ", ".join([*about, *(f"{name} {version(name)}" for name in LIBRARIES)])
