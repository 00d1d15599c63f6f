"""The text to distill: an instruction, a few-shot prompt or a document, and its entry in the manifest."""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from softprompt.data import ExampleDataset
from softprompt.errors import DataError, translate_os_errors


class SourceKind(StrEnum):
    """Kind of a text to distill, which is also the name of its setting."""

    CONTEXT = "context"
    EXAMPLES = "examples"
    DOCUMENT = "document"


@dataclass(frozen=True)
class SourceText:
    """Text to distill.

    Attributes:
        kind: Kind of the text.
        path: File of the text, as the user wrote it.
        text: The whole text, without white space at its end; empty for examples.
        digest: SHA-256 of the file, or of the records of examples.
        demonstrations: Examples of a few-shot prompt; None for other texts.
    """

    kind: SourceKind
    path: str
    text: str
    digest: str
    demonstrations: ExampleDataset | None = None

    @classmethod
    def from_file(cls, kind: SourceKind, path: Path) -> SourceText:
        """Read a text file.

        Raises:
            DataError: The file is missing, empty, or not UTF-8 text.
        """
        if path.is_dir():
            raise DataError(f"{path} is a folder: pass a text file, such as .txt or .md")
        if not path.is_file():
            raise DataError(f"file not found: {path}")
        with translate_os_errors(path):
            content = path.read_bytes()
        if b"\0" in content and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{path} is a binary file: pass a text file, such as .txt or .md")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not a text in UTF-8 ({error.reason} at byte {error.start}): convert it"
            ) from error
        if not text.strip():
            raise DataError(f"{path} is empty: pass a file with the text to distill")
        return cls(kind, str(path), text.rstrip(), hashlib.sha256(content).hexdigest())

    @classmethod
    def from_examples(cls, path: str, examples: ExampleDataset) -> SourceText:
        """Describe the examples of a few-shot prompt."""
        return cls(SourceKind.EXAMPLES, path, "", examples.digest, examples)

    def describe(self, num_tokens: int) -> dict[str, Any]:
        """Describe the text for the manifest of the prompt that is distilled from it."""
        return {"kind": str(self.kind), "path": self.path, "sha256": self.digest, "num_tokens": num_tokens}
