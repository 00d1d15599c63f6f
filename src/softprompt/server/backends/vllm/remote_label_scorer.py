"""Scoring of labels with replicas, by their next-token probabilities."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.tasks.label_scorers.label_trie import BranchPoint
from softprompt.tasks.label_scorers.verbalizer import Verbalizer

MAX_TEXTS_PER_QUERY = 16  # texts in one query
MAX_CONCURRENT_TEXTS = 64  # concurrent texts of one classification

NextTokenQuery = Callable[[Sequence[Sequence[int]], int | None], Awaitable[list[dict[int, float]]]]
"""Queries the next tokens of sequences, or a single token; returns log-probabilities by token for each sequence."""


class RemoteLabelScorer:
    """A scorer of labels with one prompt.

    The engine needs one forward pass; here every branch point of the labels is a request for the next token's
    log-probabilities. vLLM returns the twenty most probable tokens, which nearly always include the labels of a trained
    prompt. For a token that is missing, a second request allows only that token. (`logprob_token_ids` could return any
    token, but then vLLM returns no alternatives to other requests in the same step.)

    Args:
        verbalizer: verbalizer with the branch points of the labels.
        query_next_tokens: queries the replicas.
        max_concurrent_texts: maximum texts at replicas at a time.
    """

    def __init__(
        self,
        verbalizer: Verbalizer,
        query_next_tokens: NextTokenQuery,
        max_concurrent_texts: int = MAX_CONCURRENT_TEXTS,
    ):
        self._verbalizer, self._query, self._max_concurrent_texts = verbalizer, query_next_tokens, max_concurrent_texts

    async def score_labels(self, sequences: Sequence[Sequence[int]]) -> Float[Tensor, "B K"]:
        """Return the log-probabilities of the labels of each sequence."""
        size = min(MAX_TEXTS_PER_QUERY, len(sequences), self._max_concurrent_texts)
        semaphore = asyncio.Semaphore(self._max_concurrent_texts // size)
        batches = [sequences[i : i + size] for i in range(0, len(sequences), size)]
        scores = await asyncio.gather(
            *(
                self._score_branch(branch_point, batch, semaphore)
                for branch_point in self._verbalizer.branch_points
                for batch in batches
            )
        )
        count = len(batches)
        branch_scores = [torch.cat(scores[i : i + count]) for i in range(0, len(scores), count)]
        return self._verbalizer.combine_branches(branch_scores)

    async def _score_branch(
        self, branch_point: BranchPoint, sequences: Sequence[Sequence[int]], semaphore: asyncio.Semaphore
    ) -> Float[Tensor, "B _"]:
        """Return the log-probabilities of the tokens at a branch point, normalized over these tokens."""
        extended = [[*sequence, *branch_point.path] for sequence in sequences]
        logprobs = await self._query_next_tokens(extended, None, semaphore)
        for token in branch_point.next_tokens:
            missing_indices = [i for i, token_logprobs in enumerate(logprobs) if token not in token_logprobs]
            if missing_indices:
                extended_without_token = [extended[i] for i in missing_indices]
                added_logprobs = await self._query_next_tokens(extended_without_token, token, semaphore)
                for i, token_logprobs in zip(missing_indices, added_logprobs, strict=True):
                    logprobs[i] |= token_logprobs
        table = torch.tensor(
            [
                [token_logprobs.get(token, math.nan) for token in branch_point.next_tokens]
                for token_logprobs in logprobs
            ],
            dtype=torch.float64,
        )
        return table.log_softmax(dim=-1).float()

    async def _query_next_tokens(
        self, sequences: Sequence[Sequence[int]], only_token_id: int | None, semaphore: asyncio.Semaphore
    ) -> list[dict[int, float]]:
        async with semaphore:
            return await self._query(sequences, only_token_id)
