"""Refuses texts that do not fit in a row with their responses, and says which of a request's texts they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from softprompt.server.refusal import Refusal

MAX_NAMED = 5  # texts that a message names beside the first


@dataclass(frozen=True)
class RowLength:
    """What a text and its response need of a row.

    Attributes:
        name: the field of the request that holds the text, `input.3`.
        text: positions of the prompt and the text.
        response: tokens of the response.
        limit: positions and tokens that there may be of both.
    """

    name: str
    text: int
    response: int
    limit: int

    @property
    def excess(self) -> int:
        """By how many tokens it is too long; not above 0 where it fits."""
        return self.text + self.response - self.limit


def check_lengths(rows: Iterable[RowLength], length: int) -> None:
    """Refuse rows that are too long.

    Args:
        rows: of one request.
        length: positions that a row may have.

    Raises:
        Refusal: 400, `context_length_exceeded`; its `param` is the name of the first that is too long.
    """
    if excessive := [row for row in rows if row.excess > 0]:
        raise _refusal(excessive, length)


def _refusal(rows: Sequence[RowLength], length: int) -> Refusal:
    """With both numbers, as OpenAI says it."""
    [first, *others] = rows
    message = (
        f"This model's maximum context length is {length} tokens. However, you requested {first.text + first.response} "
        f"tokens in '{first.name}' ({first.text} in the prompt and the text, {first.response} in the response), "
        f"{first.excess} too many. Please reduce the length of either."
    )
    if others:
        message += f" Also too long: {_listed(others)}."
    return Refusal(400, message, param=first.name, code="context_length_exceeded")


def _listed(rows: Sequence[RowLength]) -> str:
    named = [f"'{row.name}' by {row.excess}" for row in rows[:MAX_NAMED]]
    if rest := len(rows) - len(named):
        named.append(f"{rest} more")
    return ", ".join(named)
