"""Rejection of texts that are too long before they are tokenized, which is slow for long texts."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from softprompt.model.token_length_bound import TokenLengthBound
from softprompt.server.request_errors import ContextLengthExceeded


class TextTooLong(ContextLengthExceeded):
    """A text is too long for the context.

    Args:
        num_characters: characters of the text.
        min_tokens: minimum number of tokens of the text.
        max_model_len: maximum positions of a sequence.
    """

    def __init__(self, num_characters: int, min_tokens: int, max_model_len: int):
        self._sizes = num_characters, min_tokens, max_model_len
        super().__init__(self._format_message("the text"))

    def attribute_to(self, input_name: str) -> None:
        """Name the text in the request."""
        self.param, self.message = input_name, self._format_message(input_name)

    def _format_message(self, input_name: str) -> str:
        num_characters, min_tokens, max_model_len = self._sizes
        return (
            f"This model's maximum context length is {max_model_len} tokens. However, '{input_name}' has "
            f"{num_characters:,} characters with its template, which are at least {min_tokens:,} tokens. "
            "Please reduce its length."
        )


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
