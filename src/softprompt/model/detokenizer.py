"""From tokens to text as they come: no piece ends inside a character. Knows no torch and no stop texts."""

from __future__ import annotations

from collections.abc import Callable

BROKEN = "\ufffd"  # what stands for the bytes of a character that is not whole
MOST_PENDING = 32  # tokens whose text may still change; a character has four bytes, and a token has at least one
LAST_PENDING = 4  # of these, which a character that has begun may still be among


class Detokenizer:
    """The text of one response. A token costs the same however many came before it.

    Args:
        decode: from tokens to their text.
    """

    def __init__(self, decode: Callable[[list[int]], str]):
        self._decode = decode
        self._context: list[int] = []  # tokens whose text is told, and with which the next are decoded
        self._pending: list[int] = []  # tokens whose text is not told yet

    def add(self, token: int) -> str:
        """The text that is certain now, and was not before."""
        self._pending.append(token)
        text = self._new_text(self._pending)
        if not text.endswith(BROKEN):
            return self._release(len(self._pending), text)
        return self._release_beginning(text) if len(self._pending) > MOST_PENDING else ""

    def rest(self) -> str:
        """What was held back, when no token follows."""
        return self._release(len(self._pending), self._new_text(self._pending)) if self._pending else ""

    def _release_beginning(self, text: str) -> str:
        """The text of pending tokens that no later one completes: bytes that are no character, or the sign itself."""
        count = len(self._pending) - LAST_PENDING
        beginning = self._new_text(self._pending[:count])
        is_certain = text.startswith(beginning) or len(self._pending) > 2 * MOST_PENDING
        return self._release(count, beginning) if is_certain else ""

    def _new_text(self, tokens: list[int]) -> str:
        return self._decode(self._context + tokens)[len(self._decode(self._context)) :]

    def _release(self, count: int, text: str) -> str:
        self._context, self._pending = self._pending[:count], self._pending[count:]
        return text
