"""Validation of a safetensors header before its tensors are read; no memory is allocated by untrusted sizes.

The first eight bytes are the length of the header. The header is JSON with the dtype, the shape and the byte range of
each tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from softprompt.errors import CorruptPrompt

MAX_HEADER_BYTES = 65_536
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes of an element
HEAD_PREFIX = "head."


def check_header_tensors(content: bytes, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Check that a file has exactly the expected tensors.

    Args:
        content: content of the file.
        shapes: expected shapes by tensor name; the tensors of a head may be missing together.
        path: name of the file, for messages.

    Raises:
        CorruptPrompt: the header is invalid, or has other tensors.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, len(content) - 8):
        raise CorruptPrompt(f"{path} is not a safetensors file: a header of {length:,} bytes is invalid")
    entries = _parse_entries(content[8 : 8 + length], path)
    entries.pop("__metadata__", None)
    required = {name for name in shapes if not name.startswith(HEAD_PREFIX)}
    if set(entries) not in (set(shapes), required):
        raise CorruptPrompt(f"{path} must hold {', '.join(sorted(shapes))} and nothing else")
    byte_ranges = [_get_byte_range(entry, name, shapes[name], path) for name, entry in entries.items()]
    _check_contiguous(byte_ranges, len(content) - 8 - length, path)


def _parse_entries(text: bytes, path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=_reject_duplicate_keys)
    except (ValueError, RecursionError) as error:
        raise CorruptPrompt(f"{path}: the header is not valid JSON: {error}") from error
    if not isinstance(entries, dict):
        raise CorruptPrompt(f"{path}: the header must be a JSON object")
    return entries


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object without duplicate keys, of which parsers choose different ones."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _get_byte_range(entry: Any, name: str, shape: tuple[int, ...], path: Path) -> tuple[int, int]:
    """Return the byte range of a tensor."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CorruptPrompt(f"{path}: {name} must have dtype, shape and data_offsets, and nothing else")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPE_BYTES:
        raise CorruptPrompt(f"{path}: {name} must have a dtype of {', '.join(DTYPE_BYTES)}")
    if not _is_count_list(entry["shape"]) or tuple(entry["shape"]) != shape:
        raise CorruptPrompt(f"{path}: {name} must have the shape {list(shape)}, by the manifest and this model")
    offsets = entry["data_offsets"]
    if not _is_count_list(offsets) or len(offsets) != 2:
        raise CorruptPrompt(f"{path}: {name} must have two data_offsets, the begin and the end of its data")
    if offsets[1] - offsets[0] != math.prod(shape) * DTYPE_BYTES[entry["dtype"]]:
        raise CorruptPrompt(f"{path}: the data_offsets of {name} do not match its shape and dtype")
    return offsets[0], offsets[1]


def _is_count_list(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _check_contiguous(byte_ranges: list[tuple[int, int]], size: int, path: Path) -> None:
    """Check that the byte ranges cover the data without gaps and overlaps."""
    bounds = [(0, 0), *sorted(byte_ranges), (size, size)]
    if any(end != begin for (_, end), (begin, _) in pairwise(bounds)):
        raise CorruptPrompt(f"{path}: its tensors overlap, leave a gap, or do not end with the file")
