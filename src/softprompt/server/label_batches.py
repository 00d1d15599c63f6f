"""Texts of all tenants whose labels are wanted: those that wait at the same time go through the model together.

A pass takes so many tokens, tenants in turn, and is one job of the thread that runs the model; meanwhile others gather.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence

from softprompt.fair_queue import FairQueue
from softprompt.model import FrozenModel
from softprompt.server.failures import Failed
from softprompt.server.label_pass import LabelText, score_together
from softprompt.server.pass_size import PassSize
from softprompt.server.shelved import Shelved
from softprompt.server.worker import Worker
from softprompt.tasks import Row

logger = logging.getLogger(__name__)

POSITIONS = 4096  # that prompts of several kinds take in a pass together: each has a copy for each of its texts


class LabelBatches:
    """Classifications that wait, and the passes that answer them.

    Args:
        worker: has the model run.
        model: it.
        tokens: of a pass.
    """

    def __init__(self, worker: Worker, model: FrozenModel, tokens: int):
        self._worker, self._model, self._tokens = worker, model, tokens
        self._size = PassSize(tokens)
        self._queue: FairQueue[LabelText] = FairQueue(2**31)  # how many may wait is decided where they are taken on
        self._lock = threading.Lock()
        self._waiting: dict[LabelText, asyncio.Future[None]] = {}
        self._passes: asyncio.Task[None] | None = None

    async def score(self, shelved: Shelved, rows: Sequence[Row], tenant: str) -> list[list[float]]:
        """The log-probabilities of the labels of each of several texts.

        Raises:
            Refusal: the model does not run any more, or it failed.
        """
        texts = [LabelText(shelved, row) for row in rows]
        with self._lock:
            for text in texts:
                self._queue.add(tenant, text, float(min(text.num_tokens, self._tokens)))  # further pieces cost more
        futures = [asyncio.get_running_loop().create_future() for _ in texts]
        self._waiting |= dict(zip(texts, futures, strict=True))
        if self._passes is None or self._passes.done():
            self._passes = asyncio.create_task(self._run())
        try:
            await asyncio.gather(*futures)
        finally:
            for text in texts:
                text.is_dropped = True
                self._waiting.pop(text, None)
        return [text.scores or [] for text in texts]

    async def _run(self) -> None:
        """Pass after pass, as long as something waits."""
        try:
            while self._queue:
                for text in await self._worker.run(self._next_tenant(), self._run_pass):
                    self._tell(text, text.error)
        except Exception as error:
            with self._lock:
                while self._queue:
                    self._queue.take()
            for text in list(self._waiting):
                self._tell(text, error)

    def _next_tenant(self) -> str:
        """In whose name the next pass waits for the model, and is charged: whose text is first in it."""
        with self._lock:
            return self._queue.peek()[0]

    def _tell(self, text: LabelText, error: Exception | None) -> None:
        future = self._waiting.pop(text, None)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    # What follows runs in the model's thread.

    def _run_pass(self) -> list[LabelText]:
        """Compute what waits, as much as a pass takes; the texts that are over then."""
        with self._lock:
            tenants = {*self._queue.tenants}
        tokens = self._size.tokens(self._worker.longest_pass(tenants))
        taken = self._take(tokens)
        texts = [text for _, text in taken]
        began, computed = time.monotonic(), sum(min(text.num_tokens, tokens) for text in texts)
        try:
            if len(texts) == 1 and texts[0].num_tokens > tokens:
                texts[0].advance(self._model, tokens)
            elif texts:
                score_together(self._model, texts)
            self._size.observe(computed, time.monotonic() - began)
        except Exception:
            logger.exception("a pass for %d texts failed: each is tried by itself", len(texts))
            for text in texts:
                self._score_alone(text)
        self._put_back(taken, tokens)
        return [text for text in texts if text.is_over]

    def _score_alone(self, text: LabelText) -> None:
        try:
            score_together(self._model, [text])
        except Exception:
            logger.exception("a text's labels cannot be told")
            text.error = Failed()

    def _put_back(self, taken: Sequence[tuple[str, LabelText]], tokens: int) -> None:
        with self._lock:
            for tenant, text in taken:
                if not text.is_over:
                    self._queue.put_back(tenant, text)
                    self._queue.charge(tenant, float(tokens))

    def _take(self, tokens: int) -> list[tuple[str, LabelText]]:
        """The texts whose turn it is: as many as fit, and one at least."""
        taken: list[tuple[str, LabelText]] = []
        with self._lock:
            while self._queue:
                _, text = self._queue.peek()
                if not text.is_dropped and taken and not self._fits([*(each for _, each in taken), text], tokens):
                    break
                following = self._queue.take()
                if not text.is_dropped:
                    taken.append(following)
        return taken

    def _fits(self, texts: Sequence[LabelText], tokens: int) -> bool:
        positions = max(text.payload.num_positions for text in texts)
        is_one = len({id(text.payload) for text in texts}) == 1
        return len(texts) * max(text.num_tokens for text in texts) <= tokens and (
            is_one or len(texts) * positions <= POSITIONS
        )
