"""Schemas of chat completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from softprompt.server.schemas.field_types import StrictModel, UnicodeText, UnsupportedField
from softprompt.server.schemas.generation_request import GenerationRequest

ROLE_ALIASES = {"developer": "system"}  # OpenAI's newer name of the role


class TextPart(StrictModel):
    """A text part of a message."""

    type: Literal["text"]
    text: UnicodeText


class ChatMessage(StrictModel):
    """A message of a chat.

    Attributes:
        role: author of the message.
        content: text, or a list of text parts that are joined.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: UnicodeText | Annotated[list[TextPart], Field(min_length=1)]
    name: UnicodeText | None = None
    refusal: UnsupportedField = None
    tool_calls: UnsupportedField = None
    function_call: UnsupportedField = None
    audio: UnsupportedField = None
    annotations: Any = None  # sent back from an earlier response

    @property
    def text(self) -> str:
        """The complete text of the message."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def to_template_message(self) -> dict[str, str]:
        """Return the message in the format of chat templates."""
        return {"role": ROLE_ALIASES.get(self.role, self.role), "content": self.text}


class ChatCompletionRequest(GenerationRequest):
    """The body of a chat completion request."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: UnsupportedField = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: Any = None  # ignored: tools are not supported
    functions: UnsupportedField = None
    function_call: Literal["none", "auto"] | None = None
    modalities: list[Literal["text"]] | None = None
    audio: UnsupportedField = None
    prediction: Any = None  # ignored: only a speed-up
    reasoning_effort: UnsupportedField = None
    verbosity: UnsupportedField = None
    web_search_options: UnsupportedField = None

    @model_validator(mode="after")
    def _check_logprobs(self) -> ChatCompletionRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("'top_logprobs' needs 'logprobs' to be true")
        return self

    @property
    def max_output_tokens(self) -> int | None:
        """Requested maximum tokens of a response, by either name."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def num_logprobs(self) -> int | None:
        """Number of alternatives for each token; None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


class TopLogprob(StrictModel):
    """A token and its log-probability."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatCompletionTokenLogprob(TopLogprob):
    """A token of a response and its most probable alternatives."""

    top_logprobs: list[TopLogprob]


class ChatCompletionLogprobs(StrictModel):
    """The log-probabilities of a response."""

    content: list[ChatCompletionTokenLogprob]
    refusal: None = None


class PromptTokensDetails(StrictModel):
    """Details of the prompt tokens."""

    cached_tokens: int


class CompletionUsage(StrictModel):
    """Token counts of a request; virtual tokens are not counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class AssistantMessage(StrictModel):
    """The assistant's message, or its next part in a stream."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None


class ChatCompletionChoice(StrictModel):
    """One of the responses."""

    index: int
    message: AssistantMessage
    logprobs: ChatCompletionLogprobs | None
    finish_reason: str


class ChatCompletionResponse(StrictModel):
    """The body of a chat completion response."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatCompletionChoice]
    usage: CompletionUsage
    system_fingerprint: str


class ChatCompletionChunkChoice(StrictModel):
    """The next part of one response."""

    index: int
    delta: AssistantMessage
    logprobs: ChatCompletionLogprobs | None = None
    finish_reason: str | None = None


class ChatCompletionChunk(StrictModel):
    """A chunk of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatCompletionChunkChoice]
    usage: CompletionUsage | None = None
    system_fingerprint: str
