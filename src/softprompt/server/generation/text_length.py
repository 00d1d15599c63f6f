"""Rejects texts that are too long before they are tokenized, which is slow for long texts."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from softprompt.model.token_length_bound import TokenLengthBound
from softprompt.server.api_errors import ApiError


class TextTooLong(ApiError):
    """A text is too long for the context.

    Args:
        num_characters: characters of the text.
        min_tokens: minimum number of tokens of the text.
        max_model_len: maximum positions of a sequence.
        input_name: field of the request that holds the text, if known.
    """

    def __init__(self, num_characters: int, min_tokens: int, max_model_len: int, input_name: str | None = None):
        self._sizes = num_characters, min_tokens, max_model_len
        message = (
            f"This model's maximum context length is {max_model_len} tokens. However, '{input_name or 'the text'}' has "
            f"{num_characters:,} characters with its template, which are at least {min_tokens:,} tokens. "
            "Please reduce its length."
        )
        super().__init__(400, message, param=input_name, code="context_length_exceeded")

    def with_input_name(self, input_name: str) -> TextTooLong:
        """Return the error with the text's name in the request."""
        return TextTooLong(*self._sizes, input_name)


class TextLengthCheck:
    """A check that rejects texts with more characters than a full context of tokens can have.

    Args:
        tokenizer: tokenizer of the texts.
        max_model_len: maximum positions of a sequence.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_model_len: int):
        self._token_lengths, self._max_model_len = TokenLengthBound.from_tokenizer(tokenizer), max_model_len

    def __call__(self, text: str) -> None:
        """Check a text.

        Raises:
            TextTooLong: the text cannot fit in the context.
        """
        if self._token_lengths is None or len(text) <= self._max_model_len:
            return
        min_tokens = self._token_lengths.get_min_token_count(text)
        if min_tokens > self._max_model_len:
            raise TextTooLong(len(text), min_tokens, self._max_model_len)
