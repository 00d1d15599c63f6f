"""Formatter of responses in OpenAI's format. Chat completions and completions differ in the choices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from softprompt.server.generation.generation_group import OutputChunk
from softprompt.server.generation.logprobs_formatter import LogprobsFormatter
from softprompt.server.schemas.chat_schemas import CompletionUsage

ResponseT = TypeVar("ResponseT", bound=BaseModel)


@dataclass(frozen=True)
class ResponseMetadata:
    """The fields that a response and every chunk of its stream have.

    Attributes:
        id: id of the response.
        created: creation time, Unix time in seconds.
        model: the version that generates, or the base model.
        system_fingerprint: fingerprint of the base model's weights.
    """

    id: str
    created: int
    model: str
    system_fingerprint: str


class ResponseFormatter(ABC, Generic[ResponseT]):
    """A formatter of one request's response, or of the chunks of its stream.

    Args:
        logprobs_formatter: formats log-probabilities.
        has_logprobs: whether the request asks for log-probabilities.

    Attributes:
        id_prefix: prefix of the response's id.
        response_type: schema of the response.
        chunk_type: schema of a chunk.
        chunk_object: `object` of a chunk, which is sent because it is set explicitly.
    """

    id_prefix: str
    response_type: type[ResponseT]
    chunk_type: type[BaseModel]
    chunk_object: str

    def __init__(self, logprobs_formatter: LogprobsFormatter, has_logprobs: bool):
        self._logprobs_formatter, self.has_logprobs = logprobs_formatter, has_logprobs

    def format_response(
        self, metadata: ResponseMetadata, choices: Sequence[BaseModel], usage: CompletionUsage
    ) -> ResponseT:
        """Format the whole response."""
        return self.response_type(**vars(metadata), choices=choices, usage=usage)

    def format_chunk(
        self, metadata: ResponseMetadata, choices: Sequence[BaseModel], **usage: CompletionUsage | None
    ) -> BaseModel:
        """Format a chunk of the stream; `usage` is left out unless it is given."""
        return self.chunk_type(**vars(metadata), object=self.chunk_object, choices=choices, **usage)

    @abstractmethod
    def format_choice(self, index: int, chunks: Sequence[OutputChunk]) -> BaseModel:
        """Format a complete generation as the choice with this index."""

    def iter_opening_choices(self, index: int) -> Iterable[BaseModel]:  # noqa: ARG002
        """Yield the choices that precede the chunks of a generation in the stream."""
        return ()

    @abstractmethod
    def iter_chunk_choices(self, chunk: OutputChunk) -> Iterator[BaseModel]:
        """Yield the choices of the stream that a chunk becomes: none if the client would see nothing new."""
