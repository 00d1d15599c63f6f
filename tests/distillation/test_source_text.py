"""Texts to distill: reading their files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from softprompt.distillation.source_text import SourceKind, SourceText
from softprompt.errors import DataError


def read(content: bytes, tmp_path: Path) -> SourceText:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    return SourceText.from_file(SourceKind.CONTEXT, path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a film\n\n", "a film"),
        (b"\xef\xbb\xbfa film", "a film"),
        ("  été 你\n".encode(), "  été 你"),
        (b"a\r\nb", "a\r\nb"),
        (b"</s> {text} [P1] {{", "</s> {text} [P1] {{"),
    ],
)
def test_a_text_is_read_as_it_is_without_bom_and_white_space_at_its_end(
    content: bytes, text: str, tmp_path: Path
) -> None:
    source = read(content, tmp_path)
    assert source.text == text
    assert source.digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n", "is empty"),
        (b"a\0b", "is a binary file"),
        (b"\x7fELF\xe9\0", "is a binary file"),
        ("film".encode("utf-16"), "is not a text in UTF-8"),
        (b"caf\xe9", "is not a text in UTF-8"),
        (b"\xed\xa0\x80", "is not a text in UTF-8"),
    ],
)
def test_a_file_without_text_is_rejected(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read(content, tmp_path)


def test_the_manifest_names_the_text(tmp_path: Path) -> None:
    source = read(b"a film", tmp_path)
    assert source.describe(7) == {
        "kind": "context",
        "path": str(tmp_path / "text.txt"),
        "sha256": source.digest,
        "num_tokens": 7,
    }
