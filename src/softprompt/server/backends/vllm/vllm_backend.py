"""The backend that runs the model in vLLM servers with softprompt's plugin, without weights in this process."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import final
from urllib.parse import urlsplit

from softprompt.engine import EngineRequest
from softprompt.errors import SettingError
from softprompt.model import FrozenModel, KVPrefix, Payload, Placement
from softprompt.saved import SavedPrompt
from softprompt.server.backends.generation_handle import GenerationHandle
from softprompt.server.backends.inference_backend import BackendFactory
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.backends.task_binder import TaskBinder
from softprompt.server.backends.vllm import replica_request_body
from softprompt.server.backends.vllm.failover_stream import FailoverStream
from softprompt.server.backends.vllm.remote_label_scorer import (
    MAX_CONCURRENT_TEXTS,
    MAX_TEXTS_PER_QUERY,
    RemoteLabelScorer,
)
from softprompt.server.backends.vllm.replica_client import ReplicaClient
from softprompt.server.backends.vllm.replica_options import count_spare_sequences
from softprompt.server.backends.vllm.replica_pool import ReplicaPool
from softprompt.server.backends.vllm.replica_response_parser import NonFiniteLogits, parse_next_tokens
from softprompt.server.backends.vllm.shared_step_limit import count_step_tokens
from softprompt.server.concurrency.fair_semaphore import FairSemaphore
from softprompt.server.concurrency.tenant_admission import TenantAdmission
from softprompt.server.private_tokenizer import with_private_tokenizer
from softprompt.server.request_errors import (
    HeadNotSupported,
    InvalidRequest,
    NoHealthyReplica,
    PromptNotCompiled,
    QueueFull,
    RequestTimeout,
    ServerShuttingDown,
)
from softprompt.server.server_config import ServerConfig
from softprompt.server.server_metrics import ServerMetrics
from softprompt.tasks import EncodedExample
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.collation import apply_payload
from softprompt.tasks.label_scorers.verbalizer import Verbalizer
from softprompt.vllm_protocol import starts_with_placeholders

MAX_SHARED_TEXTS_PER_REQUEST = 2  # texts of a classification in one request while other tenants are active
UNBOUNDED_QUEUE = 2**31  # unbounded: TenantAdmission has limited the requests before


def parse_replica_urls(urls: Sequence[str]) -> list[str]:
    """Validate and deduplicate the URLs of replicas.

    Raises:
        SettingError: there is no URL, or a URL is invalid.
    """
    if not urls:
        raise SettingError("no replica is configured: pass at least one `replica`, such as http://HOST:PORT")
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise SettingError(f"`replica={url!r}` is not a valid URL: use http://HOST:PORT")
    return list(dict.fromkeys(url.rstrip("/").removesuffix("/v1") for url in urls))


def is_self_contained_prefix(payload: Payload) -> bool:
    """Whether the payload is a complete prefix, which needs no forward pass."""
    return isinstance(payload, KVPrefix) and (payload.has_bos or payload.placement is not Placement.AFTER_BOS)


@final
class VllmBackend:
    """The backend of vLLM replicas; see `InferenceBackend`.

    Args:
        config: configuration of the server.
        model: base model of the replicas, without weights.
        metrics: metrics of the server.
        urls: URLs of the replicas.
        is_server_alive: whether the gateway's own vLLM server runs, or will be started again.

    Raises:
        SettingError: there is no URL, or a URL is invalid.
    """

    def __init__(
        self,
        config: ServerConfig,
        model: FrozenModel,
        metrics: ServerMetrics,
        urls: Sequence[str],
        is_server_alive: Callable[[], bool] = lambda: True,
    ):
        self.replica_pool = ReplicaPool(parse_replica_urls(urls), metrics)
        self._config, self._metrics, self._is_server_alive = config, metrics, is_server_alive
        self._model = with_private_tokenizer(model)  # its tokenizer is used only on the event loop
        self._binder = TaskBinder(model)
        self._is_draining = False
        self._streams: set[FailoverStream] = set()
        self._admission = TenantAdmission(config.max_waiting_requests)
        self._semaphore = FairSemaphore(
            self._max_running_sequences,
            UNBOUNDED_QUEUE,
            self._num_spare_sequences,
            lambda: self.replica_pool.max_shared_step_tokens,
        )

    @classmethod
    def create_factory(cls, urls: Sequence[str], is_server_alive: Callable[[], bool] = lambda: True) -> BackendFactory:
        """Return a factory of the backend for these replicas."""
        return lambda config, model, metrics: cls(config, model, metrics, urls, is_server_alive)

    @property
    def max_model_len(self) -> int:
        """Maximum positions of a sequence. vLLM counts a position for the last token, unlike the engine."""
        max_model_len = min(self._config.max_model_len, self._model.shape.window)
        replica_max_len = self.replica_pool.max_model_len
        return max_model_len if replica_max_len is None else min(max_model_len, replica_max_len - 1)

    @property
    def is_alive(self) -> bool:
        """Whether the gateway's own vLLM server, if there is one, runs or will be started again."""
        return self._is_server_alive()

    def check_available(self) -> None:
        """Check that the server is not shutting down, and that a replica is healthy."""
        if self._is_draining:
            raise ServerShuttingDown
        if not self.replica_pool.healthy_replicas:
            raise NoHealthyReplica

    async def start(self) -> None:
        """Start the health probes."""
        await self.replica_pool.start()

    def drain(self) -> None:
        """Reject new requests from now on."""
        self._is_draining = True

    async def stop(self) -> None:
        """End the running requests and close all connections."""
        self._is_draining = True
        for stream in list(self._streams):
            stream.abort_with(ServerShuttingDown())
        await self.replica_pool.stop()
        self._binder.close()

    def validate_prompt(self, prompt: SavedPrompt) -> None:
        """Reject a prompt that vLLM cannot serve.

        Raises:
            PromptNotCompiled: the prompt is not a compiled prefix.
            HeadNotSupported: the prompt has a head.
        """
        if not is_self_contained_prefix(prompt.payload):
            raise PromptNotCompiled
        if prompt.head is not None:
            raise HeadNotSupported

    async def verify_prompt(self, prompt: SavedPrompt, name: str, tenant: str) -> None:
        """Do nothing: this process has no weights. Responses with non-finite logits end with an error."""

    async def load_prompt(self, prompt: SavedPrompt, tenant: str) -> LoadedPrompt:
        """Bind the task and determine the prefix's shape. The replicas load the tensors themselves."""
        self.validate_prompt(prompt)
        objective = await self._binder.bind_task(prompt, tenant)
        return LoadedPrompt.from_saved_prompt(prompt, prompt.compile_for(self._model), objective)

    async def submit_request(self, request: EngineRequest, payload: Payload | None) -> GenerationHandle:
        """Submit a request to a replica.

        Raises:
            SettingError: the sequence is longer than the maximum.
            QueueFull: too many requests are waiting.
            NoHealthyReplica: no replica is healthy.
            ServerShuttingDown: the server is shutting down.
            InvalidRequest: the text starts like the placeholders of a prompt.
        """
        self.check_available()
        num_prefix_positions = 0 if payload is None else payload.num_positions
        num_positions = num_prefix_positions + len(request.prompt_token_ids) + request.sampling.max_new_tokens - 1
        if num_positions > self.max_model_len:
            raise SettingError(
                f"a sequence of {num_positions} positions exceeds the maximum of {self.max_model_len}: shorten the "
                "text or the response"
            )
        if not num_prefix_positions and starts_with_placeholders(request.prompt_token_ids):
            raise InvalidRequest(
                "A text that starts with two tokens of id 0 is not supported by this server: change its beginning.",
                "prompt",
            )
        self._check_allowance(request.tenant)
        stream = FailoverStream(
            request,
            num_prefix_positions,
            self.replica_pool,
            self._semaphore,
            self._decode_tokens,
            self._model.eos_token_ids,
        )
        self._streams.add(stream)
        self._metrics.set_load(len(self._streams), 0)
        self._admission.add_requests(request.tenant)
        stream.add_done_callback(self._on_stream_done)
        return stream

    async def score_labels(
        self, loaded_prompt: LoadedPrompt, examples: Sequence[EncodedExample], tenant: str
    ) -> list[list[float]]:
        """Score the labels with the replicas' next-token probabilities.

        Raises:
            QueueFull: too many requests are waiting.
            RequestTimeout: the classification took too long.
            NoHealthyReplica, AllReplicasFailed: no replica is available.
        """
        objective, digest = loaded_prompt.objective, replica_request_body.strip_digest_prefix(loaded_prompt.digest)
        assert isinstance(objective, ClassificationObjective)
        assert isinstance(objective.label_scorer, Verbalizer)  # checked by validate_prompt
        max_concurrent_texts = self._classification_allowance(
            tenant, len(examples) * len(objective.label_scorer.branch_points)
        )

        num_prefix_positions = loaded_prompt.payload.num_positions

        async def query_next_tokens(
            sequences: Sequence[Sequence[int]], only_token_id: int | None
        ) -> list[dict[int, float]]:
            log_probs: list[dict[int, float]] = []
            while len(log_probs) < len(sequences):
                part = sequences[len(log_probs) :][: self._max_texts_per_request(tenant)]
                body = replica_request_body.build_next_token_body(
                    part, num_prefix_positions, tenant, digest, only_token_id
                )
                log_probs += await self._request_next_tokens(body, part, tenant, digest)
            return log_probs

        scorer = RemoteLabelScorer(objective.label_scorer, query_next_tokens, max_concurrent_texts)
        sequences = [apply_payload(example, loaded_prompt.payload)[0] for example in examples]
        try:
            with self._admission.track_requests(tenant, max_concurrent_texts):
                async with asyncio.timeout(self._config.request_timeout):
                    return (await scorer.score_labels(sequences)).tolist()
        except NonFiniteLogits:
            return [[math.nan] * len(loaded_prompt.task.labels)] * len(examples)
        except TimeoutError:
            raise RequestTimeout(self._config.request_timeout) from None

    def _max_texts_per_request(self, tenant: str) -> int:
        """Return the maximum texts in one request of a classification: few while other tenants are active.

        All of them are computed in one step, for which the other sequences wait.
        """
        return MAX_SHARED_TEXTS_PER_REQUEST if self._semaphore.has_other_tenants(tenant) else MAX_TEXTS_PER_QUERY

    async def _request_next_tokens(
        self,
        body: replica_request_body.RequestBody,
        sequences: Sequence[Sequence[int]],
        tenant: str,
        prompt_digest: str,
    ) -> list[dict[int, float]]:
        """Request the next token's log-probabilities of a few sequences from a replica."""
        num_step_tokens = sum(count_step_tokens(len(sequence)) for sequence in sequences)

        async def query_replica(replica: ReplicaClient) -> list[dict[int, float]]:
            response = await replica.request_completion(body, len(sequences), num_step_tokens)
            return parse_next_tokens(response, len(sequences))

        async with self._semaphore.acquire_slots(tenant, len(sequences), num_step_tokens):
            return await self.replica_pool.run_with_failover(
                replica_request_body.make_routing_key(tenant, prompt_digest), query_replica
            )

    def _max_running_sequences(self) -> int:
        """Return the maximum sequences at the replicas; further ones wait in the gateway, tenants in turn."""
        return self._config.max_num_seqs * max(1, len(self.replica_pool.healthy_replicas)) + self._num_spare_sequences()

    def _num_spare_sequences(self) -> int:
        return count_spare_sequences(self._config.max_num_seqs) * max(1, len(self.replica_pool.healthy_replicas))

    def _check_allowance(self, tenant: str, limit: int = 1) -> int:
        """Return how many sequences of a tenant can be accepted now, up to `limit`.

        Raises:
            QueueFull: no sequence can be accepted.
        """
        num_running = self._config.max_num_seqs * len(self.replica_pool.healthy_replicas)
        if not (allowance := self._admission.get_allowance(tenant, num_running, limit)):
            raise QueueFull
        return allowance

    def _classification_allowance(self, tenant: str, num_texts: int) -> int:
        """Return the maximum concurrent texts of a classification: at most half of the tenant's allowance.

        The other half stays free for the tenant's other requests, as a classification may take long.

        Raises:
            QueueFull: no text can be accepted.
        """
        limit = max(1, min(MAX_CONCURRENT_TEXTS, num_texts))
        return min(limit, max(1, self._check_allowance(tenant, 2 * limit) // 2))

    def _on_stream_done(self, stream: FailoverStream) -> None:
        self._streams.discard(stream)
        self._metrics.set_load(len(self._streams), 0)  # only the replicas know which ones wait
        self._admission.remove_requests(stream.tenant)

    def _decode_tokens(self, token_ids: list[int]) -> str:
        return str(self._model.tokenizer.decode(token_ids, skip_special_tokens=True))
