"""The report of a distillation: the teacher's own quality, the distilled prefix, and what a user could do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class ReportRow(BaseModel):
    """One way to prepare the model for the inputs, and what it costs.

    Attributes:
        name: Name of the way.
        num_request_tokens: Number of tokens that each request repeats.
        num_positions: Number of positions of the window that it takes.
        kv_bytes: Bytes of its keys and values in the model's precision.
        first_token_seconds: Time to the first token of one input in seconds, with the tokens that a request repeats.
        cached_first_token_seconds: The same if a prefix cache has those tokens' keys and values.
        tokens_per_second: Speed of one response after its first token.
        metrics: Metrics on the validation inputs by name: docs/distillation.md defines them.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    num_request_tokens: int
    num_positions: int
    kv_bytes: int
    first_token_seconds: float
    cached_first_token_seconds: float
    tokens_per_second: float
    metrics: dict[str, float]


class DistillReport(BaseModel):
    """Report of a distillation.

    Attributes:
        version: Version of this format.
        model: Name of the base model.
        source: Kind, path, hash and length of the text.
        num_virtual_tokens: Number of virtual tokens, P.
        num_validation_inputs: Number of inputs that were measured.
        num_answered_inputs: Number of those with a right answer.
        rows: Ways to prepare the model, the distilled prefix last.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    model: str
    source: Mapping[str, Any]
    num_virtual_tokens: int
    num_validation_inputs: int
    num_answered_inputs: int
    rows: list[ReportRow]
