"""Formatter of the log-probabilities of tokens for chat completions and completions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from softprompt.engine import TokenOutput
from softprompt.sampling.incremental_detokenizer import REPLACEMENT_CHARACTER
from softprompt.server.schemas.chat_schemas import ChatCompletionLogprobs, ChatCompletionTokenLogprob, TopLogprob
from softprompt.server.schemas.completion_schemas import CompletionLogprobs

TOKEN_CACHE_SIZE = 16_384  # decoded tokens


class LogprobsFormatter:
    """A formatter of log-probabilities in OpenAI's format.

    Args:
        tokenizer: used only to decode, so that its state never changes.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        # Cached, because a step may have twenty tokens per sequence.
        self._decode_cached = lru_cache(TOKEN_CACHE_SIZE)(self._decode_uncached)

    def decode_token(self, token_id: int) -> str:
        """Decode a token; a part of a character becomes a replacement character."""
        return self._decode_cached(token_id)

    def _decode_uncached(self, token_id: int) -> str:
        return str(self._tokenizer.decode([token_id]))

    def format_chat(self, outputs: Sequence[TokenOutput]) -> ChatCompletionLogprobs:
        """Format tokens of a chat completion."""
        return ChatCompletionLogprobs(
            content=[self._format_content(each) for each in outputs if each.logprob is not None]
        )

    def format_completion(self, outputs: Sequence[TokenOutput], text_offset: int = 0) -> CompletionLogprobs:
        """Format tokens of a completion, the first of which starts at character `text_offset`."""
        scored = [output for output in outputs if output.token_id is not None and output.logprob is not None]
        tokens, offsets = [self.decode_token(each.token_id) for each in scored if each.token_id is not None], []
        for token in tokens:
            offsets.append(text_offset)
            text_offset += len(token)
        return CompletionLogprobs(
            text_offset=offsets,
            token_logprobs=[each.logprob for each in scored if each.logprob is not None],
            tokens=tokens,
            top_logprobs=[{self.decode_token(token): value for token, value in each.top_logprobs} for each in scored],
        )

    def _format_content(self, output: TokenOutput) -> ChatCompletionTokenLogprob:
        assert output.token_id is not None
        assert output.logprob is not None
        token_logprob = self._format_token(output.token_id, output.logprob)
        alternatives = [self._format_token(token, value) for token, value in output.top_logprobs]
        return ChatCompletionTokenLogprob(**token_logprob.model_dump(), top_logprobs=alternatives)

    def _format_token(self, token_id: int, logprob: float) -> TopLogprob:
        text = self.decode_token(token_id)
        return TopLogprob(
            token=text, logprob=logprob, bytes=None if REPLACEMENT_CHARACTER in text else list(text.encode())
        )
