"""From tokens to text, piece by piece: no piece ends inside a character, or inside what may become a stop text.

Knows no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

BROKEN = "\ufffd"  # what stands for the bytes of a character that is not whole


class Writer:
    """The text of one response.

    Args:
        decode: from tokens to their text.
        stop: texts before which it ends.

    Attributes:
        is_stopped: one of them was written.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()):
        self._decode, self._stop = decode, stop
        self._tokens: list[int] = []
        self._shown = 0  # tokens whose text is known
        self._context = (
            0  # where the tokens begin that these are decoded with: what precedes a token may change its text
        )
        self._held = ""  # text that may be the beginning of a stop text
        self.is_stopped = False

    def add(self, token: int) -> str:
        """The text that is certain now, and was not before."""
        self._tokens.append(token)
        return self._released(self._news(whole=False))

    def rest(self) -> str:
        """What was held back, when no token follows."""
        text = self._released(self._news(whole=True))
        held, self._held = self._held, ""
        return text if self.is_stopped else text + held

    def _news(self, whole: bool) -> str:
        before = self._decode(self._tokens[self._context : self._shown])
        now = self._decode(self._tokens[self._context :])
        if now.endswith(BROKEN) and not whole:
            return ""
        self._context, self._shown = self._shown, len(self._tokens)
        return now[len(before) :]

    def _released(self, news: str) -> str:
        """The part of held and new text that is no part of a stop text, and cannot become one."""
        text = self._held + news
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)]
        begun = max((_begun(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - begun :]
        return text[: len(text) - begun]


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of a text are the beginning of a stop text."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
