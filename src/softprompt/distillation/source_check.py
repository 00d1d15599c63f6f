"""Comparison of a distilled prompt's source with the file that it was distilled from."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from softprompt.data import read_examples
from softprompt.distillation.source_text import SourceKind, SourceText
from softprompt.errors import DataError, SettingError


class SourceState(StrEnum):
    """State of a source since a prompt was distilled from it."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    MISSING = "missing"


def check_source(source: Mapping[str, Any]) -> SourceState:
    """Compare a source with the file at its path. A relative path is looked up in the current folder.

    Args:
        source: Entry of the prompt's manifest: `kind`, `path` and `sha256`.
    """
    try:
        digest = _compute_digest(str(source.get("kind")), str(source.get("path")))
    except (DataError, SettingError, OSError, ValueError):
        return SourceState.MISSING
    return SourceState.UNCHANGED if digest == source.get("sha256") else SourceState.CHANGED


def _compute_digest(kind: str, path: str) -> str:
    if kind == SourceKind.EXAMPLES:
        return read_examples(path).digest
    return SourceText.from_file(SourceKind(kind), Path(path)).digest
