"""Sources of distilled prompts that changed or are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from softprompt.data import read_examples
from softprompt.distillation.source_check import SourceState, check_source
from softprompt.distillation.source_text import SourceKind, SourceText


def test_a_text_is_unchanged_until_its_bytes_change(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("two people sign the blue book", "utf-8")
    source = SourceText.from_file(SourceKind.DOCUMENT, path).describe(7)
    assert check_source(source) is SourceState.UNCHANGED
    path.write_text("three people sign the blue book", "utf-8")
    assert check_source(source) is SourceState.CHANGED
    path.unlink()
    assert check_source(source) is SourceState.MISSING


def test_examples_are_compared_by_their_records(write_jsonl: Callable[..., Path]) -> None:
    path = write_jsonl("shots.jsonl", [{"text": "tea", "label": "good"}, {"text": "rice", "label": "bad"}])
    source = SourceText.from_examples(str(path), read_examples(path)).describe(9)
    assert check_source(source) is SourceState.UNCHANGED
    write_jsonl("shots.jsonl", [{"text": "tea", "label": "bad"}, {"text": "rice", "label": "bad"}])
    assert check_source(source) is SourceState.CHANGED


@pytest.mark.parametrize("source", [{}, {"kind": "document"}, {"kind": "poem", "path": "p", "sha256": "0"}])
def test_an_incomplete_entry_of_a_manifest_is_missing(source: dict[str, str]) -> None:
    assert check_source(source) is SourceState.MISSING
