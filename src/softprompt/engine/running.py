"""A request on its way through the engine: its tokens, and how many of them the model has seen. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from softprompt.engine.request import Request


@dataclass(eq=False)
class Running:
    """A request on its way.

    Attributes:
        request: what was asked.
        positions: that its prompt takes in front of it.
        known: its tokens: those of the request, then those written.
        computed: how many of them the model has seen.
        reused: how many of these it had seen before, in another row.
        slot: where its keys and values are; -1 while it waits.
        turn: tokens that it has written since it got its slot.
        preemptions: how often its slot was taken back.
        last_step: the number of the last step that it was in.
    """

    request: Request
    positions: int = 0
    known: list[int] = field(init=False)
    computed: int = 0
    reused: int = 0
    slot: int = -1
    turn: int = 0
    preemptions: int = 0
    last_step: int = 0

    def __post_init__(self) -> None:
        self.known = list(self.request.ids)

    @property
    def room(self) -> int:
        """The positions that it may come to need. The last token written is never read."""
        return self.positions + len(self.request.ids) + self.request.sampling.max_new_tokens - 1

    @property
    def written(self) -> list[int]:
        """The response so far."""
        return self.known[len(self.request.ids) :]

    @property
    def missing(self) -> int:
        """Tokens that the model has not seen."""
        return len(self.known) - self.computed

    @property
    def is_writing(self) -> bool:
        """All but its newest token was computed: its text has been read, and after a preemption its response too."""
        return self.computed >= max(len(self.request.ids), len(self.known) - 1)
