"""A chat: messages in, the assistant's next one out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from softprompt.server.protocol.fields import Body, Text, Unsupported
from softprompt.server.protocol.sampling import Writing

ROLES = {"developer": "system"}  # OpenAI's later name of it


class TextPart(Body):
    """A part of a message that is text."""

    type: Literal["text"]
    text: Text


class ChatMessage(Body):
    """What somebody said.

    Attributes:
        role: who.
        content: what, in one or in parts, which are joined.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1)]
    name: Text | None = None
    refusal: Unsupported = None
    tool_calls: Unsupported = None
    function_call: Unsupported = None
    audio: Unsupported = None
    annotations: Any = None  # what an earlier answer had, sent back

    @property
    def text(self) -> str:
        """All of it."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def plain(self) -> dict[str, str]:
        """As chat templates read it."""
        return {"role": ROLES.get(self.role, self.role), "content": self.text}


class ChatRequest(Writing):
    """What is asked."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Unsupported = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: Any = None  # of tools, which there are not
    functions: Unsupported = None
    function_call: Literal["none", "auto"] | None = None
    modalities: list[Literal["text"]] | None = None
    audio: Unsupported = None
    prediction: Any = None  # would make the same answer faster
    reasoning_effort: Unsupported = None
    verbosity: Unsupported = None
    web_search_options: Unsupported = None

    @model_validator(mode="after")
    def _check_logprobs(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("'top_logprobs' needs 'logprobs' to be true")
        return self

    @property
    def most_tokens(self) -> int | None:
        """The longest response that is asked for, by either name."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def alternatives(self) -> int | None:
        """How many to tell beside each token; None to tell no probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


class TokenLogprob(Body):
    """A token and the logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int] | None


class ContentLogprob(TokenLogprob):
    """A token of a response with its alternatives."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(Body):
    """The tokens of a response."""

    content: list[ContentLogprob]
    refusal: None = None


class ReadTokens(Body):
    """How some of what was read is special."""

    cached_tokens: int


class Usage(Body):
    """How many tokens it was. Virtual tokens are none."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: ReadTokens


class Said(Body):
    """The assistant's message, or in a stream what is new of it."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None


class ChatChoice(Body):
    """One response."""

    index: int
    message: Said
    logprobs: ChatLogprobs | None
    finish_reason: str


class ChatResponse(Body):
    """All responses."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str


class ChatChunkChoice(Body):
    """What is new of one response."""

    index: int
    delta: Said
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None


class ChatChunk(Body):
    """A part of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    system_fingerprint: str
