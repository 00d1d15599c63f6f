"""What a row's tokens so far leave for its next one, beside the model's keys and values. Nothing in it knows a slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softprompt.engine.mask_pool import MaskPool
from softprompt.engine.penalties import build_penalties
from softprompt.engine.request import Request
from softprompt.engine.row_guide import RowGuide
from softprompt.engine.text import Writer


class RowState:
    """A row's text, penalties and grammar, which may be built anew from its request and its tokens so far.

    Args:
        request: the row's.
        decode: from tokens to their text.
        size: V, tokens of the vocabulary.
        pool: makes the masks of grammars.
        written: tokens that the row has written already, whose text was told.

    Attributes:
        writer: makes its text.
        penalties: its penalties and biases; None if it has none.
        guide: its grammar; None if it has none.
    """

    def __init__(
        self,
        request: Request,
        decode: Callable[[list[int]], str],
        size: int,
        pool: MaskPool,
        written: Sequence[int] = (),
    ):
        sampling = request.sampling
        self.writer = Writer(decode, sampling.stop, written)
        self.penalties = build_penalties(request, written)
        self.guide = (
            None if sampling.grammar is None else RowGuide(sampling.grammar, size, pool, request.tenant, written)
        )

    def take(self, token: int) -> None:
        """The row goes on behind a token."""
        if self.penalties is not None:
            self.penalties.add([token])
        if self.guide is not None:
            self.guide.take(token)

    def close(self) -> None:
        """The row is over."""
        if self.guide is not None:
            self.guide.close()
