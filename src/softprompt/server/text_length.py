"""Refuses a text that cannot fit before it is put in tokens, which takes long for a long text."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from softprompt.model.token_lengths import TokenLengths
from softprompt.server.refusal import Refusal


class TextTooLong(Refusal):
    """A text that cannot fit.

    Args:
        characters: that it has.
        tokens: as how many it comes out at least.
        length: positions that a row may have.
        name: the field of the request that holds it, where that is known.
    """

    def __init__(self, characters: int, tokens: int, length: int, name: str | None = None):
        self._sizes = characters, tokens, length
        message = (
            f"This model's maximum context length is {length} tokens. However, '{name or 'the text'}' has "
            f"{characters:,} characters with its template, which are {tokens:,} tokens at least. "
            "Please reduce its length."
        )
        super().__init__(400, message, param=name, code="context_length_exceeded")

    def with_name(self, name: str) -> TextTooLong:
        """The same of the text that is called so in the request."""
        return TextTooLong(*self._sizes, name)


class TextLengthCheck:
    """Refuses texts with more characters than any tokens of a row could stand for.

    Args:
        tokenizer: puts the texts in tokens.
        length: positions that a row may have.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, length: int):
        self._lengths, self._length = TokenLengths.from_tokenizer(tokenizer), length

    def __call__(self, text: str) -> None:
        """Look at a text.

        Raises:
            TextTooLong: it cannot fit.
        """
        if self._lengths is None or len(text) <= self._length:
            return
        tokens = self._lengths.least_tokens(text)
        if tokens > self._length:
            raise TextTooLong(len(text), tokens, self._length)
