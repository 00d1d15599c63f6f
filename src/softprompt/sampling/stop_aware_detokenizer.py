"""Incremental detokenizer that ends at stop strings. Imports no torch.

No chunk of text ends inside a character, or inside what may become a stop string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from softprompt.sampling.incremental_detokenizer import IncrementalDetokenizer
from softprompt.sampling.stop_matcher import StopMatcher


class StopAwareDetokenizer:
    """Detokenizer of one response. The cost of a token does not grow with the response.

    Args:
        decode: decodes token ids to text.
        stop: stop strings.
        emitted_token_ids: tokens whose text was emitted already.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], stop: Sequence[str] = (), emitted_token_ids: Iterable[int] = ()
    ):
        self._detokenizer = IncrementalDetokenizer(decode)
        self._matcher = StopMatcher(stop) if stop else None
        for token in emitted_token_ids:
            self.push_token(token)

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string was found."""
        return self._matcher is not None and self._matcher.is_stopped

    def push_token(self, token_id: int) -> str:
        """Add a token, and return the text that has become certain."""
        return self._release_text(self._detokenizer.push_token(token_id))

    def flush_text(self) -> str:
        """Return the text that was held back, when no further token follows."""
        text = self._release_text(self._detokenizer.flush_text())
        return text if self._matcher is None else text + self._matcher.flush_text()

    def _release_text(self, new_text: str) -> str:
        return new_text if self._matcher is None else self._matcher.push_text(new_text)
