"""A pool of replicas: routing, failover and health checks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from softprompt.server.backends.vllm.consistent_hash import HashRing, pick_replica
from softprompt.server.backends.vllm.replica_client import ReplicaClient
from softprompt.server.backends.vllm.replica_http_client import create_http_client
from softprompt.server.backends.vllm.replica_response_parser import (
    NonFiniteLogits,
    ReplicaConnectionError,
    ReplicaStatusError,
)
from softprompt.server.request_errors import (
    AllReplicasFailed,
    InvalidRequest,
    NoHealthyReplica,
    PromptUnavailable,
    RequestError,
)
from softprompt.server.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

T = TypeVar("T")

PROBE_INTERVAL_S = 1.0
MAX_MESSAGE_CHARS = 300  # characters of vLLM's message in an error


class ReplicaPool:
    """The pool of a gateway's replicas. Several gateways may share the replicas without coordination.

    Args:
        urls: base URLs of the replicas.
        metrics: metrics of the gateway.
    """

    def __init__(self, urls: Sequence[str], metrics: ServerMetrics):
        self._metrics = metrics
        self._ring = HashRing.from_names(urls)
        self._client = create_http_client()
        self.replicas = {url: ReplicaClient(url, self._client, metrics) for url in urls}
        self._probe_tasks: list[asyncio.Task[None]] = []

    @property
    def healthy_replicas(self) -> dict[str, ReplicaClient]:
        """Healthy replicas by URL."""
        return {url: replica for url, replica in self.replicas.items() if replica.is_healthy}

    @property
    def max_model_len(self) -> int | None:
        """Maximum positions of a sequence on every healthy replica; None without healthy replicas."""
        return min(
            (replica.max_model_len for replica in self.healthy_replicas.values() if replica.max_model_len is not None),
            default=None,
        )

    @property
    def max_shared_step_tokens(self) -> int:
        """Tokens in the steps of all healthy replicas beyond which a tenant gets no more while others are active."""
        return max(1, sum(replica.step_limit.max_tokens for replica in self.healthy_replicas.values()))

    async def start(self) -> None:
        """Probe every replica once, and periodically from then on."""
        await asyncio.gather(*(replica.probe_health() for replica in self.replicas.values()))
        self._probe_tasks = [
            asyncio.create_task(self._probe_periodically(replica)) for replica in self.replicas.values()
        ]

    async def stop(self) -> None:
        """Stop the probes and close all connections."""
        for task in self._probe_tasks:
            task.cancel()
        await asyncio.gather(*self._probe_tasks, return_exceptions=True)
        await self._client.aclose()

    async def _probe_periodically(self, replica: ReplicaClient) -> None:
        while True:
            await asyncio.sleep(PROBE_INTERVAL_S)
            try:
                await replica.probe_health()
            except Exception:
                logger.exception("probing the replica %s failed", replica.url)
                replica.mark_unhealthy("the health probe failed")

    async def run_with_failover(self, routing_key: str, operation: Callable[[ReplicaClient], Awaitable[T]]) -> T:
        """Run an operation on a replica, and on further replicas if it fails.

        Args:
            routing_key: key of the replica; requests of one key go to one replica while its load allows.
            operation: operation, which starts from its beginning on every replica.

        Raises:
            NonFiniteLogits: the model's logits are not finite.
            NoHealthyReplica: no replica is healthy.
            AllReplicasFailed, PromptUnavailable: all healthy replicas failed.
            InvalidRequest: every replica would reject the request.
        """
        remaining, failure = self._ring.rank_replicas(routing_key), None
        while remaining:
            healthy = self.healthy_replicas
            loads = {url: replica.load for url, replica in healthy.items()}
            url = pick_replica([candidate for candidate in remaining if candidate in healthy], loads)
            if url is None:
                break
            remaining.remove(url)
            try:
                result = await operation(healthy[url])
            except (ReplicaConnectionError, ReplicaStatusError) as error:
                failure = self._translate_failure(healthy[url], error)
            else:
                self._metrics.count_replica_request(url, "success")
                return result
        raise failure or NoHealthyReplica()

    def _translate_failure(
        self, replica: ReplicaClient, error: ReplicaConnectionError | ReplicaStatusError
    ) -> RequestError:
        """Convert a failure of a replica to the error that is raised if all other replicas fail, too.

        Raises:
            NonFiniteLogits: the model's logits are not finite, on any replica.
            InvalidRequest: every other replica would reject the request, too.
        """
        if isinstance(error, ReplicaConnectionError):
            self._metrics.count_replica_request(replica.url, "connection_error")
            replica.mark_unhealthy(str(error))
            return AllReplicasFailed()
        self._metrics.count_replica_request(replica.url, "rejected")
        if error.is_logit_overflow:
            raise NonFiniteLogits from error
        if error.is_client_error:
            raise InvalidRequest(f"The replica rejected this request: {error.message[:MAX_MESSAGE_CHARS]}")
        logger.error("replica %s rejected a request: %s", replica.url, error)
        return PromptUnavailable() if error.is_from_plugin else AllReplicasFailed()
