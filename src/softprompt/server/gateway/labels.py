"""How probable a classification's labels are, asked of replicas that tell the next token's probabilities."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.server.gateway import bodies
from softprompt.server.gateway.bodies import Body
from softprompt.tasks.verbalizer import Branching, Verbalizer

ROWS = 16  # texts in one request to a replica
AT_ONCE = 4  # requests to replicas for one request of a client

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
    """

    def __init__(self, reader: Verbalizer, positions: int, tenant: str, prompt: str, ask: Asking):
        self._reader, self._ask = reader, ask
        self._behind = (positions, tenant, prompt)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def of(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "B K"]:
        """The log-probabilities of the labels of each row."""
        parts = [rows[i : i + ROWS] for i in range(0, len(rows), ROWS)]
        found = await asyncio.gather(
            *(self._at(branching, part) for branching in self._reader.branchings for part in parts)
        )
        count = len(parts)
        choices = [torch.cat(found[i : i + count]) for i in range(0, len(found), count)]
        return self._reader.together(choices)

    async def _at(self, branching: Branching, rows: Sequence[Sequence[int]]) -> Float[Tensor, "B _"]:
        """The log-probabilities of the tokens at a branching among themselves."""
        there = [[*row, *branching.path] for row in rows]
        told = await self._asked(there, None)
        for token in branching.tokens:
            missing = [i for i, each in enumerate(told) if token not in each]
            if missing:
                for i, each in zip(missing, await self._asked([there[i] for i in missing], token), strict=True):
                    told[i] |= each
        table = torch.tensor([[each[token] for token in branching.tokens] for each in told], dtype=torch.float64)
        return table.log_softmax(dim=-1).float()

    async def _asked(self, rows: Sequence[Sequence[int]], only: int | None) -> list[dict[int, float]]:
        async with self._turns:
            return await self._ask(bodies.telling(rows, *self._behind, only), len(rows))
