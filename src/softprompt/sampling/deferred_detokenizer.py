"""Detokenizer of responses that are not streamed. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable


class DeferredDetokenizer:
    """Detokenizer that decodes a response once, at its end. It finds no stop strings.

    Args:
        decode: decodes token ids to text.
    """

    is_stopped = False

    def __init__(self, decode: Callable[[list[int]], str]):
        self._decode = decode
        self._token_ids: list[int] = []

    def push_token(self, token_id: int) -> str:
        """Add a token; no text is returned before the end."""
        self._token_ids.append(token_id)
        return ""

    def flush_text(self) -> str:
        """Return the text of the response."""
        return self._decode(self._token_ids)
