"""Grammar state of one sequence, whose token masks are computed in other threads.

Masks are computed while the model runs, within a time budget. Imports no torch.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait

import numpy as np
from numpy.typing import NDArray

from softprompt.engine.mask_pool import MaskPool
from softprompt.sampling.grammar import CompiledGrammar, GrammarState

logger = logging.getLogger(__name__)

MASK_BUDGET_BASE_S = 0.5  # CPU time that the masks of a sequence may take
MASK_BUDGET_PER_TOKEN_S = 0.01  # additional CPU time for each token
CHEAP_MASK_S = 0.002  # a step waits for a mask if the sequence's last one took no longer
MAX_STEP_WAIT_S = 0.01  # maximum time that a step waits for cheap masks
MAX_IDLE_WAIT_S = 0.05  # maximum time that a step without other work waits for any mask

TokenMask = NDArray[np.bool_]


class AsyncGrammarState:
    """Grammar state of one sequence, which computes the masks of next tokens in a thread pool.

    Args:
        grammar: grammar that the response must match.
        mask_pool: thread pool that computes the masks.
        tenant: tenant of the sequence; tenants take turns in the pool.
        output_token_ids: tokens that the sequence has generated already.
    """

    def __init__(
        self,
        grammar: CompiledGrammar,
        mask_pool: MaskPool,
        tenant: str,
        output_token_ids: Sequence[int] = (),
    ):
        self._grammar, self._mask_pool, self._tenant = grammar, mask_pool, tenant
        self._state: GrammarState | None = None
        self._spent_seconds, self._num_accepted_tokens = 0.0, 0
        self._last_mask_seconds = math.inf  # unknown before the first mask
        self._next_mask = self._submit_tokens(output_token_ids)

    @property
    def is_ready(self) -> bool:
        """Whether the mask of the next token is computed."""
        return self._next_mask.done()

    @property
    def is_cheap(self) -> bool:
        """Whether the last mask was fast enough to wait for the next one."""
        return self._last_mask_seconds <= CHEAP_MASK_S

    def accept_token(self, token_id: int) -> None:
        """Record the next token, and start computing the mask of the token after it."""
        self._next_mask = self._submit_tokens([token_id])

    def get_mask(self) -> TokenMask | None:
        """Return whether each token may be next; None if no token may, or the budget is used up."""
        try:
            return self._next_mask.result()
        except Exception:
            logger.exception("computing a grammar mask failed; the sequence ends")
            return None

    def close(self) -> None:
        """Cancel the computation of the next mask."""
        self._next_mask.cancel()

    def _submit_tokens(self, token_ids: Sequence[int]) -> Future[TokenMask | None]:
        return self._mask_pool.submit_job(self._tenant, lambda: self._compute_mask(token_ids))

    def _compute_mask(self, token_ids: Sequence[int]) -> TokenMask | None:
        start_time = time.thread_time()
        if self._state is None:
            self._state = self._grammar.create_state()
        for token_id in token_ids:
            self._state.accept_token(token_id)
        mask = self._state.get_mask()
        self._num_accepted_tokens += len(token_ids)
        self._last_mask_seconds = time.thread_time() - start_time
        self._spent_seconds += self._last_mask_seconds
        return (
            mask
            if self._spent_seconds <= MASK_BUDGET_BASE_S + MASK_BUDGET_PER_TOKEN_S * self._num_accepted_tokens
            else None
        )


def wait_for_masks(states: Iterable[AsyncGrammarState], *, is_idle: bool) -> None:
    """Wait briefly for masks that are not ready: for cheap ones only, unless the step has no other work."""
    pending = [state for state in states if not state.is_ready]
    awaited = pending if is_idle else [state for state in pending if state.is_cheap]
    if awaited:
        wait(
            [state._next_mask for state in awaited],
            timeout=MAX_IDLE_WAIT_S if is_idle else MAX_STEP_WAIT_S,
            return_when="FIRST_COMPLETED" if is_idle else "ALL_COMPLETED",
        )
