"""The header of a safetensors file, read before its numbers are: nothing is allocated by what it says.

Eight bytes say how long the header is, which is JSON: of each tensor its type, its shape, and from where to where its
numbers stand behind the header.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from softprompt.errors import DamagedPrompt

LONGEST = 65_536
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes of a number
HEAD = "head."


def check_header(content: bytes, shapes: Mapping[str, tuple[int, ...]], where: Path) -> None:
    """See that the bytes are a file with these tensors, whole and nothing else.

    Args:
        content: the file.
        shapes: of each tensor that it must have; those of a head may be missing together.
        where: what the file is called.

    Raises:
        DamagedPrompt: they are not.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(LONGEST, len(content) - 8):
        raise DamagedPrompt(f"{where} is no safetensors file: its header is not {length:,} bytes long")
    found = _entries(content[8 : 8 + length], where)
    found.pop("__metadata__", None)
    required = {name for name in shapes if not name.startswith(HEAD)}
    if set(found) not in (set(shapes), required):
        raise DamagedPrompt(f"{where} must hold {', '.join(sorted(shapes))} and nothing else")
    places = [_place(entry, name, shapes[name], where) for name, entry in found.items()]
    _check_places(places, len(content) - 8 - length, where)


def _entries(text: bytes, where: Path) -> dict[str, Any]:
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise DamagedPrompt(f"{where}: its header is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise DamagedPrompt(f"{where}: its header is no JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which nothing is said twice: readers differ in which they believe."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands in it twice")
    return dict(pairs)


def _place(entry: Any, name: str, shape: tuple[int, ...], where: Path) -> tuple[int, int]:
    """From where to where a tensor's numbers stand."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise DamagedPrompt(f"{where}: {name} needs a dtype, a shape and data_offsets, and nothing else")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in SIZES:
        raise DamagedPrompt(f"{where}: {name} must be of the type {', '.join(SIZES)}")
    if not _are_counts(entry["shape"]) or tuple(entry["shape"]) != shape:
        raise DamagedPrompt(f"{where}: {name} must be of the shape {list(shape)}, as the manifest and this model say")
    offsets = entry["data_offsets"]
    if not _are_counts(offsets) or len(offsets) != 2:
        raise DamagedPrompt(f"{where}: {name} needs two data_offsets, of where its numbers begin and end")
    if offsets[1] - offsets[0] != math.prod(shape) * SIZES[entry["dtype"]]:
        raise DamagedPrompt(f"{where}: the data_offsets of {name} do not hold as many numbers as its shape")
    return offsets[0], offsets[1]


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _check_places(places: list[tuple[int, int]], size: int, where: Path) -> None:
    """That the numbers stand one behind the other from the first byte to the last."""
    ends = [(0, 0), *sorted(places), (size, size)]
    if any(end != begin for (_, end), (begin, _) in pairwise(ends)):
        raise DamagedPrompt(f"{where}: its numbers overlap, leave a gap, or end elsewhere than the file")
