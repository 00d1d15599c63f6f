"""A row's grammar as the row is written.

Which tokens may be next is found beside the model's steps, and within a budget. Knows no torch.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait

import numpy as np
from numpy.typing import NDArray

from softprompt.engine.grammar import Grammar, Guide
from softprompt.engine.mask_pool import MaskPool

logger = logging.getLogger(__name__)

FIRST_SECONDS = 0.5  # of a thread's time that a row's masks may take
SECONDS_PER_TOKEN = 0.01  # that they may take besides, for each token
CHEAP_SECONDS = 0.002  # that the next mask of a row may be waited for, if its last one took no longer
STEP_WAIT = 0.01  # seconds that a step waits for such masks at most
IDLE_WAIT = 0.05  # seconds that a step waits for any mask where it has nothing else to do

Mask = NDArray[np.bool_]


class RowGuide:
    """Finds the mask of one row's next token in a pool's threads.

    Args:
        grammar: what the row is held to.
        size: V, tokens of the vocabulary.
        pool: makes the masks.
        tenant: whose turn it takes.
        written: tokens that the row has written already.
    """

    def __init__(self, grammar: Grammar, size: int, pool: MaskPool, tenant: str, written: Sequence[int] = ()):
        self._grammar, self._size, self._pool, self._tenant = grammar, size, pool, tenant
        self._guide: Guide | None = None
        self._seconds, self._taken = 0.0, 0
        self._last = math.inf  # what the first takes nobody knows
        self._next = self._submit(written)

    @property
    def is_ready(self) -> bool:
        """The mask of the next token is known."""
        return self._next.done()

    @property
    def is_cheap(self) -> bool:
        """The last mask took so little that the next one is worth waiting for."""
        return self._last <= CHEAP_SECONDS

    def take(self, token: int) -> None:
        """This one was next: begin to find the mask of the one after it."""
        self._next = self._submit([token])

    def mask(self) -> Mask | None:
        """For each token, whether it may be next; None if none may, or the grammar has taken more than its budget."""
        try:
            return self._next.result()
        except Exception:
            logger.exception("a mask of a grammar failed, and with it its row")
            return None

    def close(self) -> None:
        """No mask is needed any more."""
        self._next.cancel()

    def _submit(self, tokens: Sequence[int]) -> Future[Mask | None]:
        return self._pool.submit(self._tenant, lambda: self._find_mask(tokens))

    def _find_mask(self, tokens: Sequence[int]) -> Mask | None:
        began = time.thread_time()
        if self._guide is None:
            self._guide = self._grammar.start()
        for token in tokens:
            self._guide.take(token)
        mask = self._guide.allowed(self._size)
        self._taken += len(tokens)
        self._last = time.thread_time() - began
        self._seconds += self._last
        return mask if self._seconds <= FIRST_SECONDS + SECONDS_PER_TOKEN * self._taken else None


def wait_for_masks(guides: Iterable[RowGuide], *, is_idle: bool) -> None:
    """Wait a moment for masks that are not ready; for quickly made ones alone, unless there is nothing else to do."""
    pending = [guide for guide in guides if not guide.is_ready]
    worth = pending if is_idle else [guide for guide in pending if guide.is_cheap]
    if worth:
        wait(
            [guide._next for guide in worth],
            timeout=IDLE_WAIT if is_idle else STEP_WAIT,
            return_when="FIRST_COMPLETED" if is_idle else "ALL_COMPLETED",
        )
