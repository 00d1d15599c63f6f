"""Incremental detokenization: no piece of text ends inside a character. Independent of torch and of stop strings."""

from __future__ import annotations

from collections.abc import Callable

REPLACEMENT_CHARACTER = "\ufffd"  # the text of an incomplete character
MAX_PENDING_TOKENS = 32  # tokens whose text may still change; a character has up to four bytes, a token at least one
RETAINED_PENDING_TOKENS = 4  # pending tokens that may belong to an incomplete character


class IncrementalDetokenizer:
    """Detokenizer of one response. The cost of a token does not depend on the number of previous tokens.

    Args:
        decode: decodes token ids to text.
    """

    def __init__(self, decode: Callable[[list[int]], str]):
        self._decode = decode
        self._context_ids: list[int] = []  # released tokens that the next ones are decoded with
        self._pending_ids: list[int] = []  # tokens whose text is not released yet

    def push_token(self, token_id: int) -> str:
        """Add a token and return the text that is complete with it."""
        self._pending_ids.append(token_id)
        text = self._decode_after_context(self._pending_ids)
        if not text.endswith(REPLACEMENT_CHARACTER):
            return self._release(len(self._pending_ids), text)
        return self._force_release(text) if len(self._pending_ids) > MAX_PENDING_TOKENS else ""

    def flush_text(self) -> str:
        """Return the text that was held back, at the end of the response."""
        return (
            self._release(len(self._pending_ids), self._decode_after_context(self._pending_ids))
            if self._pending_ids
            else ""
        )

    def _force_release(self, text: str) -> str:
        """Return text of pending tokens that no later token completes: invalid bytes, or the replacement character."""
        count = len(self._pending_ids) - RETAINED_PENDING_TOKENS
        released_text = self._decode_after_context(self._pending_ids[:count])
        is_certain = text.startswith(released_text) or len(self._pending_ids) > 2 * MAX_PENDING_TOKENS
        return self._release(count, released_text) if is_certain else ""

    def _decode_after_context(self, token_ids: list[int]) -> str:
        return self._decode(self._context_ids + token_ids)[len(self._decode(self._context_ids)) :]

    def _release(self, count: int, text: str) -> str:
        self._context_ids, self._pending_ids = self._pending_ids[:count], self._pending_ids[count:]
        return text
