"""Schemas of text completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from softprompt.server.schemas.chat_schemas import CompletionUsage
from softprompt.server.schemas.field_types import StrictModel, UnicodeText, UnsupportedField, false_to_none
from softprompt.server.schemas.generation_request import GenerationRequest

TokenId = Annotated[int, Field(ge=0, strict=True)]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]


def _input_kind(prompt: Any) -> str:
    """Return whether prompts are texts or token ids, by the first of them."""
    return "tokens" if isinstance(prompt, list) and prompt and isinstance(prompt[0], list) else "texts"


PromptInputs = Annotated[list[UnicodeText], Tag("texts")] | Annotated[list[TokenIds], Tag("tokens")]


def _wrap_single(prompt: Any) -> Any:
    """Wrap a single text, or the token ids of one, in a list."""
    is_single = isinstance(prompt, str) or (isinstance(prompt, list) and prompt and isinstance(prompt[0], int))
    return [prompt] if is_single else prompt


class CompletionRequest(GenerationRequest):
    """The body of a completion request.

    Attributes:
        prompt: one or several prompts, each as text or as token ids.
    """

    prompt: Annotated[
        Annotated[PromptInputs, Discriminator(_input_kind)], Field(min_length=1), BeforeValidator(_wrap_single)
    ]
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[Annotated[int, Field(ge=0, le=20)] | None, BeforeValidator(false_to_none)] = None
    best_of: int | None = None
    echo: UnsupportedField = None
    suffix: UnsupportedField = None

    @model_validator(mode="after")
    def _check_best_of(self) -> CompletionRequest:
        if self.best_of not in (None, self.n):
            raise ValueError("'best_of' must be equal to 'n': this server does not rank responses")
        return self

    @property
    def max_output_tokens(self) -> int | None:
        """Requested maximum tokens of a response."""
        return self.max_tokens

    @property
    def num_logprobs(self) -> int | None:
        """Number of alternatives for each token; None for no log-probabilities."""
        return self.logprobs


class CompletionLogprobs(StrictModel):
    """The log-probabilities of a response."""

    text_offset: list[int]
    token_logprobs: list[float]
    tokens: list[str]
    top_logprobs: list[dict[str, float]]


class CompletionChoice(StrictModel):
    """One of the responses, or its next part in a stream."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: str | None = None


class CompletionResponse(StrictModel):
    """The body of a completion response, or a chunk of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | None = None
    system_fingerprint: str
