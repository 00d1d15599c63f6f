"""Formatter of text completions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import final

from softprompt.server.generation.generation_group import OutputChunk
from softprompt.server.generation.logprobs_formatter import LogprobsFormatter
from softprompt.server.generation.response_formatter import ResponseFormatter
from softprompt.server.schemas.completion_schemas import CompletionChoice, CompletionLogprobs, CompletionResponse


@final
class CompletionFormatter(ResponseFormatter[CompletionResponse]):
    """A formatter of a text completion; see `ResponseFormatter`."""

    id_prefix = "cmpl"
    response_type = chunk_type = CompletionResponse
    chunk_object = "text_completion"

    def __init__(self, logprobs_formatter: LogprobsFormatter, has_logprobs: bool):
        super().__init__(logprobs_formatter, has_logprobs)
        self._text_offsets = Counter[int]()  # characters of the tokens that were streamed, by index

    def format_choice(self, index: int, chunks: Sequence[OutputChunk]) -> CompletionChoice:
        """Format a complete generation as a text."""
        return CompletionChoice(
            index=index,
            text="".join(chunk.text for chunk in chunks),
            logprobs=self._format_logprobs(chunks, 0),
            finish_reason=chunks[-1].finish_reason,
        )

    def iter_chunk_choices(self, chunk: OutputChunk) -> Iterator[CompletionChoice]:
        """Yield the new text with the finish reason."""
        if chunk.text or chunk.finish_reason or self.has_logprobs:
            logprobs = self._format_logprobs([chunk], self._text_offsets[chunk.index])
            if logprobs is not None:
                self._text_offsets[chunk.index] += sum(map(len, logprobs.tokens))
            yield CompletionChoice(
                index=chunk.index, text=chunk.text, logprobs=logprobs, finish_reason=chunk.finish_reason
            )

    def _format_logprobs(self, chunks: Sequence[OutputChunk], text_offset: int) -> CompletionLogprobs | None:
        if not self.has_logprobs:
            return None
        return self._logprobs_formatter.format_completion([chunk.token_output for chunk in chunks], text_offset)
