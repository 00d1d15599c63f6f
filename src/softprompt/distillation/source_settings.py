"""The settings that name the text in front of every input, which distillations and comparisons share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field

from softprompt.data import read_examples
from softprompt.distillation.source_text import SourceKind, SourceText
from softprompt.training.shared_settings import DataSource


class SourceSettings(BaseModel):
    """Settings that name the text in front of every input, one for each kind of text."""

    context: Path | None = Field(default=None, description="Text file with an instruction, such as a system prompt.")
    examples: DataSource | None = Field(
        default=None, description="Examples with answers, which precede every input as a few-shot prompt."
    )
    document: Path | None = Field(default=None, description="Text file with a document to answer questions about.")

    @property
    def source_kinds(self) -> list[SourceKind]:
        """Kinds of the texts that are given."""
        return [kind for kind in SourceKind if getattr(self, kind) is not None]

    def read_source(self, field_map: Mapping[str, str], record_format: str | None) -> SourceText:
        """Read the text, of which there must be one.

        Args:
            field_map: Field names of the task to field names of the examples, where they differ.
            record_format: Format of the examples; None to detect it.

        Raises:
            DataError, SettingError, HubUnreachable: The text or the examples cannot be read.
        """
        (kind,) = self.source_kinds
        source = getattr(self, kind)
        if kind is not SourceKind.EXAMPLES:
            return SourceText.from_file(kind, source)
        return SourceText.from_examples(str(source), read_examples(source, field_map, record_format))
