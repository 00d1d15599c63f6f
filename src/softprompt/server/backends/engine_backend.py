"""The backend in this process: the engine and the thread that runs the model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import final

import torch

from softprompt.engine import Engine, EngineRequest
from softprompt.model import CausalModel, FrozenModel, KVPrefix, Payload
from softprompt.saved import SavedPrompt
from softprompt.saved.overflow_check import check_finite_logits
from softprompt.server.backends.engine_worker import EngineWorker
from softprompt.server.backends.generation_handle import GenerationHandle
from softprompt.server.backends.label_batcher import LabelBatcher
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.backends.task_binder import TaskBinder
from softprompt.server.concurrency.pass_size_estimator import PassSizeEstimator
from softprompt.server.concurrency.tenant_admission import TenantAdmission
from softprompt.server.request_errors import QueueFull, ServerShuttingDown
from softprompt.server.server_config import ServerConfig
from softprompt.server.server_metrics import ServerMetrics
from softprompt.tasks import EncodedExample


@final
class EngineBackend:
    """The backend that runs the engine in this process; see `InferenceBackend`.

    Args:
        worker: worker that runs the engine exclusively.
        model: base model of the engine.
        max_waiting_requests: maximum classifications that are accepted at a time.
        max_num_batched_tokens: maximum tokens of a forward pass between two steps.
    """

    def __init__(
        self,
        worker: EngineWorker,
        model: FrozenModel,
        max_waiting_requests: int = 256,
        max_num_batched_tokens: int = 256,
    ):
        self.worker, self._model, self._compile_size = worker, model, PassSizeEstimator(max_num_batched_tokens)
        self._task_binder, self._label_batcher = TaskBinder(model), LabelBatcher(worker, model, max_num_batched_tokens)
        self._admission = TenantAdmission(max_waiting_requests)

    @classmethod
    def from_config(cls, config: ServerConfig, model: FrozenModel, metrics: ServerMetrics) -> EngineBackend:
        """Create the backend with an engine of the configured size.

        Raises:
            ModelNotSupported: the engine does not support the model.
        """
        engine = Engine(
            model,
            max_num_seqs=config.max_num_seqs,
            max_model_len=config.max_model_len,
            max_num_batched_tokens=config.max_num_batched_tokens,
            max_waiting_requests=config.max_waiting_requests,
            kv_cache_bytes=config.kv_cache_bytes,
            prefix_cache_bytes=config.prefix_cache_bytes,
        )
        max_jobs = 2 * config.max_waiting_requests  # enough for the passes of all accepted classifications
        worker = EngineWorker(engine, metrics, max_jobs, num_threads=config.num_threads)
        return cls(worker, model, config.max_waiting_requests, config.max_num_batched_tokens)

    @property
    def max_model_len(self) -> int:
        """Maximum positions of a sequence."""
        return self.worker.engine.scheduler.max_model_len

    @property
    def is_alive(self) -> bool:
        """Whether the model's thread runs."""
        return self.worker.is_alive

    def check_available(self) -> None:
        """Check that the server is not shutting down."""
        if self.worker.is_draining:
            raise ServerShuttingDown

    async def start(self) -> None:
        """Start the model's thread."""
        self.worker.start()

    def drain(self) -> None:
        """Reject new requests from now on."""
        self.worker.is_draining = True

    async def stop(self) -> None:
        """End the running requests and the threads."""
        await self.worker.stop()
        self._task_binder.close()

    def validate_prompt(self, prompt: SavedPrompt) -> None:
        """Accept every prompt: the engine supports all kinds."""

    async def verify_prompt(self, prompt: SavedPrompt, name: str, tenant: str) -> None:
        """Run the model on one token after the prompt, in the tenant's turn."""
        assert isinstance(self._model, CausalModel)  # required by the engine
        await self.worker.run_job(tenant, partial(check_finite_logits, prompt, name, self._model))

    async def load_prompt(self, prompt: SavedPrompt, tenant: str) -> LoadedPrompt:
        """Bind the task in the binder's thread, and compile the virtual tokens between engine steps."""
        objective = await self._task_binder.bind_task(prompt, tenant)
        return LoadedPrompt.from_saved_prompt(prompt, await self._compile_payload(prompt.payload, tenant), objective)

    async def _compile_payload(self, payload: Payload, tenant: str) -> Payload:
        """Compile a payload, a few virtual tokens per pass, so that steps and other tenants run in between."""
        payload = payload.with_tensor(payload.tensor.to(self._model.device))
        if isinstance(payload, KVPrefix) and payload.is_complete:
            return payload
        compiled: Payload | None = None
        while compiled is None or compiled.num_virtual_tokens < payload.num_virtual_tokens:
            compiled = await self.worker.run_job(tenant, partial(self._extend_compiled, payload, compiled, tenant))
        return compiled

    @torch.no_grad()
    def _extend_compiled(self, payload: Payload, compiled: Payload | None, tenant: str) -> Payload:
        """Compile the next virtual tokens of a payload; in the model's thread."""
        max_tokens = self._compile_size.get_max_tokens(self.worker.get_max_pass_seconds([tenant]))
        started_at = time.monotonic()
        extended = self._model.compile_incrementally(payload, compiled, max_tokens)
        num_compiled = 0 if compiled is None else compiled.num_virtual_tokens
        self._compile_size.observe_pass(extended.num_virtual_tokens - num_compiled, time.monotonic() - started_at)
        return extended

    async def submit_request(self, request: EngineRequest, payload: Payload | None) -> GenerationHandle:
        """Submit a request to the engine."""
        return await self.worker.submit_request(request, payload)

    async def score_labels(
        self, loaded_prompt: LoadedPrompt, examples: Sequence[EncodedExample], tenant: str
    ) -> list[list[float]]:
        """Score labels in batches with the waiting texts of other requests, between engine steps."""
        if not self._admission.get_allowance(tenant, num_running=0):
            raise QueueFull
        with self._admission.track_requests(tenant):
            return await self._label_batcher.score_labels(loaded_prompt, examples, tenant)
