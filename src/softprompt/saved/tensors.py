"""Tensor files, read with suspicion: a saved prompt may come from anybody."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from softprompt.errors import DamagedPrompt


def to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Tensors as a safetensors file, float32 and on the CPU; the same tensors give the same bytes."""
    return save({name: t.detach().to("cpu", torch.float32).contiguous() for name, t in sorted(tensors.items())})


def sha256(content: bytes) -> str:
    """The hash of a file's bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def parse_tensors(content: bytes, where: Path, expected_hash: str | None = None) -> dict[str, Tensor]:
    """The tensors in the bytes of the file `where`.

    Raises:
        DamagedPrompt: truncated, changed since it was written, no safetensors, or numbers that are not finite.
    """
    if expected_hash is not None and sha256(content) != expected_hash:
        raise DamagedPrompt(
            f"{where} was truncated or changed after it was written: its hash does not fit the manifest"
        )
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DamagedPrompt(f"{where} is no valid safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DamagedPrompt(f"{where}: {name} holds {tensor.dtype}, not floating-point numbers")
    numbers = {name: tensor.float() for name, tensor in tensors.items()}
    for name, tensor in numbers.items():
        if not tensor.isfinite().all():
            raise DamagedPrompt(f"{where}: {name} holds NaN or infinite numbers")
    return numbers


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        DamagedPrompt: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedPrompt(f"{path} cannot be read: {error.strerror}") from error
