"""From tokens to text, piece by piece: no piece ends inside a character, or inside what may become a stop text.

Knows no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from softprompt.engine.stop_matcher import StopMatcher
from softprompt.model.detokenizer import Detokenizer


class Writer:
    """The text of one response. A token costs what its own text does, however much was written before.

    Args:
        decode: from tokens to their text.
        stop: texts before which it ends.
        written: tokens whose text was told already.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = (), written: Iterable[int] = ()):
        self._detokenizer = Detokenizer(decode)
        self._matcher = StopMatcher(stop) if stop else None
        for token in written:
            self.add(token)

    @property
    def is_stopped(self) -> bool:
        """A stop text was written."""
        return self._matcher is not None and self._matcher.is_stopped

    def add(self, token: int) -> str:
        """The text that is certain now, and was not before."""
        return self._released(self._detokenizer.add(token))

    def rest(self) -> str:
        """What was held back, when no token follows."""
        text = self._released(self._detokenizer.rest())
        return text if self._matcher is None else text + self._matcher.rest()

    def _released(self, news: str) -> str:
        return news if self._matcher is None else self._matcher.add(news)
