"""Schemas of classifications, modelled on OpenAI's embeddings, as OpenAI has no classification API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from softprompt.server.schemas.field_types import IgnoredField, StrictModel, UnicodeText


def _wrap_single(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


class ClassificationRequest(StrictModel):
    """The body of a classification request.

    Attributes:
        model: prompt of the tenant.
        input: one or several texts; objects with the fields if the template has several.
    """

    model: UnicodeText
    input: Annotated[list[UnicodeText | dict[str, Any]], Field(min_length=1), BeforeValidator(_wrap_single)]
    user: IgnoredField = None


class ClassificationData(StrictModel):
    """The most probable label of a text, and the probabilities of all labels."""

    index: int
    object: Literal["classification"] = "classification"
    label: str
    probabilities: dict[str, float]


class PromptUsage(StrictModel):
    """Token counts of a classification."""

    prompt_tokens: int
    total_tokens: int


class ClassificationResponse(StrictModel):
    """The body of a classification response, in the order of the texts."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ClassificationData]
    usage: PromptUsage
