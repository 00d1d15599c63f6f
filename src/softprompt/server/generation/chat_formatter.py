"""Formatter of chat completions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import final

from softprompt.server.generation.generation_group import OutputChunk
from softprompt.server.generation.response_formatter import ResponseFormatter
from softprompt.server.schemas.chat_schemas import (
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionChunk,
    ChatCompletionChunkChoice,
    ChatCompletionLogprobs,
    ChatCompletionResponse,
)


@final
class ChatFormatter(ResponseFormatter[ChatCompletionResponse]):
    """A formatter of a chat completion; see `ResponseFormatter`."""

    id_prefix = "chatcmpl"
    response_type = ChatCompletionResponse
    chunk_type = ChatCompletionChunk
    chunk_object = "chat.completion.chunk"

    def format_choice(self, index: int, chunks: Sequence[OutputChunk]) -> ChatCompletionChoice:
        """Format a complete generation as an assistant's message."""
        return ChatCompletionChoice(
            index=index,
            message=AssistantMessage(role="assistant", content="".join(chunk.text for chunk in chunks)),
            logprobs=self._format_logprobs(chunks),
            finish_reason=chunks[-1].finish_reason or "stop",
        )

    def iter_opening_choices(self, index: int) -> Iterable[ChatCompletionChunkChoice]:
        """Yield the role, which OpenAI sends first."""
        delta = AssistantMessage(role="assistant", content="")
        yield ChatCompletionChunkChoice(index=index, delta=delta, finish_reason=None)

    def iter_chunk_choices(self, chunk: OutputChunk) -> Iterator[ChatCompletionChunkChoice]:
        """Yield the new text, and the finish reason by itself."""
        if chunk.text or self.has_logprobs:
            delta, logprobs = AssistantMessage(content=chunk.text), self._format_logprobs([chunk])
            yield ChatCompletionChunkChoice(index=chunk.index, delta=delta, logprobs=logprobs, finish_reason=None)
        if chunk.finish_reason is not None:
            yield ChatCompletionChunkChoice(
                index=chunk.index, delta=AssistantMessage(), finish_reason=chunk.finish_reason
            )

    def _format_logprobs(self, chunks: Sequence[OutputChunk]) -> ChatCompletionLogprobs | None:
        if not self.has_logprobs:
            return None
        return self._logprobs_formatter.format_chat([chunk.token_output for chunk in chunks])
