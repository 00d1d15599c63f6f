"""Batches of the classified texts of all tenants: texts that wait at the same time share a forward pass.

A pass has a maximum number of tokens, takes texts of the tenants in turn, and is one job of the model's thread. Each
tenant is charged for its texts in the pass.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from softprompt.fair_queue import FairQueue
from softprompt.model import FrozenModel
from softprompt.server.backends.engine_worker import EngineWorker
from softprompt.server.backends.label_request import LabelRequest, score_batch
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.concurrency.pass_size_estimator import PassSizeEstimator
from softprompt.server.request_errors import InferenceFailed
from softprompt.tasks import EncodedExample

logger = logging.getLogger(__name__)

MAX_PREFIX_POSITIONS = 4096  # maximum prefix positions of a batch with several prompts: each text has its own copy


class LabelBatcher:
    """A batcher of texts to classify.

    Args:
        worker: worker that runs the model.
        model: base model.
        max_num_batched_tokens: maximum tokens of a pass.
    """

    def __init__(self, worker: EngineWorker, model: FrozenModel, max_num_batched_tokens: int):
        self._worker, self._model = worker, model
        self._pass_size = PassSizeEstimator(max_num_batched_tokens)
        self._queue: FairQueue[LabelRequest] = FairQueue(2**31)  # unbounded: admission is decided in EngineBackend
        self._lock = threading.Lock()
        self._futures: dict[LabelRequest, asyncio.Future[None]] = {}
        self._batch_task: asyncio.Task[None] | None = None

    async def score_labels(
        self, loaded_prompt: LoadedPrompt, examples: Sequence[EncodedExample], tenant: str
    ) -> list[list[float]]:
        """Return the log-probabilities of the labels for each example.

        Raises:
            InferenceFailed: the model failed.
            ServerShuttingDown: the worker has stopped.
        """
        requests = [LabelRequest(loaded_prompt, example) for example in examples]
        with self._lock:
            for request in requests:
                self._queue.put(tenant, request, cost=0.0)  # charged when a pass takes it
        futures = [asyncio.get_running_loop().create_future() for _ in requests]
        self._futures |= dict(zip(requests, futures, strict=True))
        if self._batch_task is None or self._batch_task.done():
            self._batch_task = asyncio.create_task(self._run_batches())
        try:
            await asyncio.gather(*futures)
        finally:
            for request in requests:
                request.is_cancelled = True
                self._futures.pop(request, None)
        return [request.scores or [] for request in requests]

    async def _run_batches(self) -> None:
        """Run passes as long as texts wait."""
        try:
            while self._queue:
                for request in await self._worker.run_job(self._peek_tenant(), self._run_batch):
                    self._resolve_future(request, request.error)
        except Exception as error:
            with self._lock:
                while self._queue:
                    self._queue.get()
            for request in list(self._futures):
                self._resolve_future(request, error)

    def _peek_tenant(self) -> str:
        """Return the tenant whose turn the next pass takes: that of its first text."""
        with self._lock:
            return self._queue.peek()[0]

    def _resolve_future(self, request: LabelRequest, error: Exception | None) -> None:
        future = self._futures.pop(request, None)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    # The methods below run in the model's thread.

    def _run_batch(self) -> list[LabelRequest]:
        """Run one pass over waiting texts, and return the finished ones."""
        with self._lock:
            tenants = {*self._queue.waiting_tenants}
        max_tokens = self._pass_size.get_max_tokens(self._worker.get_max_pass_seconds(tenants))
        batch = self._take_batch(max_tokens)
        self._worker.set_job_shares(_sum_costs(batch, max_tokens))
        requests = [request for _, request in batch]
        started_at = time.monotonic()
        try:
            num_tokens = self._compute_batch(batch, max_tokens)
            self._pass_size.observe_pass(num_tokens, time.monotonic() - started_at)
        except Exception:
            logger.exception("a batch of %d texts failed: each text is scored by itself", len(requests))
            for request in requests:
                self._score_individually(request)
        self._requeue_unfinished(batch)
        return [request for request in requests if request.is_finished]

    def _compute_batch(self, batch: Sequence[tuple[str, LabelRequest]], max_tokens: int) -> int:
        """Compute the texts of a pass, or the next part of a text that exceeds it; return the number of tokens."""
        requests = [request for _, request in batch]
        num_tokens = sum(request.num_remaining_tokens for request in requests)
        if len(requests) > 1 or num_tokens <= max_tokens:
            if requests:
                score_batch(self._model, requests)
            return num_tokens
        [(tenant, request)] = batch
        num_computed = request.compute_next_part(self._model, max_tokens)
        with self._lock:  # `_take_batch` charged for the maximum
            self._queue.charge_tenant(tenant, float(num_computed - max_tokens))
        return num_computed

    def _score_individually(self, request: LabelRequest) -> None:
        try:
            score_batch(self._model, [request])
        except Exception:
            logger.exception("scoring the labels of a text failed")
            request.error = InferenceFailed()

    def _requeue_unfinished(self, batch: Sequence[tuple[str, LabelRequest]]) -> None:
        with self._lock:
            for tenant, request in batch:
                if not request.is_finished:
                    self._queue.put_back(tenant, request)

    def _take_batch(self, max_tokens: int) -> list[tuple[str, LabelRequest]]:
        """Take the next texts from the queue, and charge their tenants: as many as fit in the batch, at least one."""
        batch: list[tuple[str, LabelRequest]] = []
        with self._lock:
            while self._queue:
                tenant, request = self._queue.peek()
                requests = [*(previous for _, previous in batch), request]
                if not request.is_cancelled and batch and not self._fits_in_batch(requests, max_tokens):
                    break
                if not request.is_cancelled:
                    self._queue.charge_tenant(tenant, request.estimate_cost(max_tokens))
                    batch.append((tenant, request))
                self._queue.get_from_tenant(tenant)
        return batch

    def _fits_in_batch(self, requests: Sequence[LabelRequest], max_tokens: int) -> bool:
        num_positions = max(request.payload.num_positions for request in requests)
        has_one_payload = len({id(request.payload) for request in requests}) == 1
        return len(requests) * max(request.num_remaining_tokens for request in requests) <= max_tokens and (
            has_one_payload or len(requests) * num_positions <= MAX_PREFIX_POSITIONS
        )


def _sum_costs(batch: Sequence[tuple[str, LabelRequest]], max_tokens: int) -> Mapping[str, float]:
    """Return the cost of each tenant's texts in a pass, in tokens."""
    costs = defaultdict[str, float](float)
    for tenant, request in batch:
        costs[tenant] += request.estimate_cost(max_tokens)
    return costs
