"""How probable a classification's labels are, asked of replicas that tell the next token's probabilities."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.server.gateway import bodies
from softprompt.server.gateway.bodies import Body
from softprompt.tasks.label_trie import Branching
from softprompt.tasks.verbalizer import Verbalizer

ROWS = 16  # texts in one request to a replica
MOST = 64  # texts of one client's request that replicas have at a time

Asking = Callable[[Body, int], Awaitable[list[dict[int, float]]]]
"""Has a body with so many rows answered: for each, tokens with their log-probabilities."""


class Labels:
    """Asks for the labels of rows behind one prompt.

    What an engine does in one pass is several questions here: at every place where labels part, how probable each of
    the tokens there is. vLLM tells the twenty most probable ones, among which those of a trained prompt's labels are;
    of one that is not it is asked what it would have been, had no other been allowed. (It could tell any by their
    numbers, `logprob_token_ids`. But with that it tells others in the same step nothing of their alternatives.)

    Args:
        reader: where labels part.
        positions: that the prompt takes.
        tenant: who asks.
        prompt: the prompt's content hash.
        ask: has a body answered.
        most: texts that replicas may have at a time.
    """

    def __init__(self, reader: Verbalizer, positions: int, tenant: str, prompt: str, ask: Asking, most: int = MOST):
        self._reader, self._ask, self._most = reader, ask, most
        self._behind = (positions, tenant, prompt)

    async def of(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "B K"]:
        """The log-probabilities of the labels of each row."""
        size = min(ROWS, len(rows), self._most)
        turns = asyncio.Semaphore(self._most // size)
        parts = [rows[i : i + size] for i in range(0, len(rows), size)]
        found = await asyncio.gather(
            *(self._at(branching, part, turns) for branching in self._reader.branchings for part in parts)
        )
        count = len(parts)
        choices = [torch.cat(found[i : i + count]) for i in range(0, len(found), count)]
        return self._reader.together(choices)

    async def _at(
        self, branching: Branching, rows: Sequence[Sequence[int]], turns: asyncio.Semaphore
    ) -> Float[Tensor, "B _"]:
        """The log-probabilities of the tokens at a branching among themselves."""
        there = [[*row, *branching.path] for row in rows]
        told = await self._asked(there, None, turns)
        for token in branching.tokens:
            missing = [i for i, each in enumerate(told) if token not in each]
            if missing:
                more = await self._asked([there[i] for i in missing], token, turns)
                for i, each in zip(missing, more, strict=True):
                    told[i] |= each
        table = torch.tensor(
            [[each.get(token, math.nan) for token in branching.tokens] for each in told], dtype=torch.float64
        )
        return table.log_softmax(dim=-1).float()

    async def _asked(
        self, rows: Sequence[Sequence[int]], only: int | None, turns: asyncio.Semaphore
    ) -> list[dict[int, float]]:
        async with turns:
            return await self._ask(bodies.telling(rows, *self._behind, only), len(rows))
