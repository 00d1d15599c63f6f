"""Tensor files in the safetensors format. They are checked on reading: a saved prompt may be untrusted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from softprompt.errors import CorruptPrompt


def serialize_tensors(tensors: dict[str, Tensor]) -> bytes:
    """Serialize tensors as a safetensors file, in float32. Equal tensors give equal bytes."""
    return save({name: t.detach().to("cpu", torch.float32).contiguous() for name, t in sorted(tensors.items())})


def compute_sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes, as `sha256:` and hexadecimal digits."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def check_content_hash(content: bytes, path: Path, expected_hash: str) -> None:
    """Check the SHA-256 of a file's content.

    Raises:
        CorruptPrompt: the file is truncated or changed.
    """
    if compute_sha256(content) != expected_hash:
        raise CorruptPrompt(
            f"{path} was truncated or changed after it was written: its hash does not match the manifest"
        )


def deserialize_tensors(content: bytes, path: Path, expected_hash: str | None = None) -> dict[str, Tensor]:
    """Parse the tensors of a safetensors file and check them.

    Args:
        content: bytes of the file.
        path: path of the file, for messages.
        expected_hash: SHA-256 of the content, or None to skip this check.

    Raises:
        CorruptPrompt: the file is truncated, changed, invalid, or contains values that are not finite.
    """
    if expected_hash is not None:
        check_content_hash(content, path, expected_hash)
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CorruptPrompt(f"{path} is not a valid safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CorruptPrompt(f"{path}: {name} has the dtype {tensor.dtype}, not a floating-point one")
    float_tensors = {name: tensor.float() for name, tensor in tensors.items()}
    for name, tensor in float_tensors.items():
        if not tensor.isfinite().all():
            raise CorruptPrompt(f"{path}: {name} contains NaN or infinite values")
    return float_tensors


def read_prompt_file(path: Path) -> bytes:
    """Read the content of a file.

    Raises:
        CorruptPrompt: the file is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptPrompt(f"{path} cannot be read: {error.strerror}") from error
