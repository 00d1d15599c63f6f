"""Classification: texts in, labels with their probabilities out. OpenAI has none; it looks as its embeddings do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from softprompt.server.protocol.fields import Body, Ignored, Text


def _as_several(given: Any) -> Any:
    return [given] if isinstance(given, str | dict) else given


class ClassifyRequest(Body):
    """What is asked.

    Attributes:
        model: a prompt of the caller's.
        input: a text or several; of a template with several fields, objects with these.
    """

    model: Text
    input: Annotated[list[Text | dict[str, Any]], Field(min_length=1), BeforeValidator(_as_several)]
    user: Ignored = None


class Classified(Body):
    """A text's most probable label, and the probability of each."""

    index: int
    object: Literal["classification"] = "classification"
    label: str
    probabilities: dict[str, float]


class ReadUsage(Body):
    """How many tokens were read."""

    prompt_tokens: int
    total_tokens: int


class ClassifyResponse(Body):
    """The labels of all texts, in their order."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Classified]
    usage: ReadUsage
