"""The report of a distillation: the teacher's own quality, the distilled prefix, and what a user could do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

REPORT_VERSION = 1


class ReportRow(BaseModel):
    """One way to prepare the model for the inputs, and what it costs.

    Attributes:
        name: Name of the way.
        num_request_tokens: Number of tokens that each request repeats.
        num_positions: Number of positions of the window that it takes.
        kv_bytes: Bytes of its keys and values in the model's precision.
        first_token_seconds: Time to the first token of one request in seconds, its repeated tokens included.
        metrics: Metrics on the validation inputs by name, see docs/distillation.md.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    num_request_tokens: int
    num_positions: int
    kv_bytes: int
    first_token_seconds: float
    metrics: dict[str, float]


class DistillReport(BaseModel):
    """Report of a distillation.

    Attributes:
        version: Version of this format.
        model: Name of the base model.
        source: Kind, path, hash and length of the text.
        num_virtual_tokens: Number of virtual tokens, P.
        num_validation_inputs: Number of inputs that were measured.
        teacher: Quality of the teacher on inputs whose answer is known; empty if none is.
        rows: Ways to prepare the model, the distilled prefix last.
    """

    model_config = ConfigDict(frozen=True)

    version: int = REPORT_VERSION
    model: str
    source: Mapping[str, Any]
    num_virtual_tokens: int
    num_validation_inputs: int
    teacher: dict[str, float]
    rows: list[ReportRow]

    def get_row(self, name: str) -> ReportRow:
        """Return the row with a name.

        Raises:
            KeyError: There is no such row.
        """
        return {row.name: row for row in self.rows}[name]
