"""What all parts of a report have in common: they are immutable, and their numbers are finite."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema


def _replace_non_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


FiniteNumber = Annotated[float | None, BeforeValidator(_replace_non_finite)]
"""A number, or None for a quantity that was not measured. NaN and infinities become None: JSON lacks them."""


def _restore_nan(value: Any) -> Any:
    return math.nan if value is None else value


def _drop_nan(value: float) -> float | None:
    return value if math.isfinite(value) else None


JsonFloat = Annotated[
    float,
    BeforeValidator(_restore_nan),
    PlainSerializer(_drop_nan, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
]
"""A number that may be NaN, which is null in JSON."""


class ReportPart(BaseModel):
    """A part of a report: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
