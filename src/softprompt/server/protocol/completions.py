"""Completions: a text in, what follows it out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from softprompt.server.protocol.chat import Usage
from softprompt.server.protocol.fields import Body, Text, Unsupported, false_as_none
from softprompt.server.protocol.sampling import Writing

Token = Annotated[int, Field(ge=0, strict=True)]
Tokens = Annotated[list[Token], Field(min_length=1)]


def _kind(prompt: Any) -> str:
    """Whether prompts are tokens, by the first of them."""
    return "tokens" if isinstance(prompt, list) and prompt and isinstance(prompt[0], list) else "texts"


Texts = Annotated[list[Text], Tag("texts")] | Annotated[list[Tokens], Tag("tokens")]


def _as_several(prompt: Any) -> Any:
    """One text, or the tokens of one, as a list of one."""
    is_one = isinstance(prompt, str) or (isinstance(prompt, list) and prompt and isinstance(prompt[0], int))
    return [prompt] if is_one else prompt


class CompletionRequest(Writing):
    """What is asked.

    Attributes:
        prompt: a text or several, each as text or as tokens.
    """

    prompt: Annotated[Annotated[Texts, Discriminator(_kind)], Field(min_length=1), BeforeValidator(_as_several)]
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[Annotated[int, Field(ge=0, le=20)] | None, BeforeValidator(false_as_none)] = None
    best_of: int | None = None
    echo: Unsupported = None
    suffix: Unsupported = None

    @model_validator(mode="after")
    def _check_best(self) -> CompletionRequest:
        if self.best_of not in (None, self.n):
            raise ValueError("'best_of' other than 'n' is not supported by this server")
        return self

    @property
    def most_tokens(self) -> int | None:
        """The longest response that is asked for."""
        return self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many to tell beside each token; None to tell no probabilities."""
        return self.logprobs


class CompletionLogprobs(Body):
    """The tokens of a response."""

    text_offset: list[int]
    token_logprobs: list[float]
    tokens: list[str]
    top_logprobs: list[dict[str, float]]


class CompletionChoice(Body):
    """One response, or in a stream what is new of it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: str | None = None


class CompletionResponse(Body):
    """All responses, or a part of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    system_fingerprint: str
