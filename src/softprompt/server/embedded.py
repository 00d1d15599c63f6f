"""The backend in this process: the engine, and the one thread that runs the model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import final

import torch

from softprompt.engine import Engine, Request
from softprompt.model import CausalModel, FrozenModel, Payload, Prefix
from softprompt.saved import SavedPrompt
from softprompt.saved.overflow import check_logits
from softprompt.server.admission import Admission
from softprompt.server.backend import Hear, Row
from softprompt.server.binder import Binder
from softprompt.server.failures import Busy, Draining
from softprompt.server.label_batches import LabelBatches
from softprompt.server.metrics import Metrics
from softprompt.server.pass_size import PassSize
from softprompt.server.refusal import Refusal
from softprompt.server.settings import ServerSettings
from softprompt.server.shelved import Shelved
from softprompt.server.worker import Worker
from softprompt.tasks import Row as Text


@final
class Embedded:
    """See `Backend`.

    Args:
        worker: runs the engine; nobody else does.
        model: the engine's.
        waiting: classifications that may be taken on at a time.
        tokens: in a pass of the model between two steps.
    """

    def __init__(self, worker: Worker, model: FrozenModel, waiting: int = 256, tokens: int = 256):
        self.worker, self._model, self._compiling = worker, model, PassSize(tokens)
        self._binder, self._labels = Binder(model), LabelBatches(worker, model, tokens)
        self._admission = Admission(waiting)

    @classmethod
    def of(cls, settings: ServerSettings, model: FrozenModel, metrics: Metrics) -> Embedded:
        """An engine of a server's size around a model.

        Raises:
            ModelNotSupported: the engine cannot run the model.
        """
        engine = Engine(
            model,
            slots=settings.slots,
            length=settings.length,
            tokens=settings.tokens,
            waiting=settings.waiting,
            memory=settings.memory,
            remembered=settings.text_memory,
        )
        most_jobs = 2 * settings.waiting  # room for the passes of all classifications that were taken on
        worker = Worker(engine, metrics, most_jobs, threads=settings.threads)
        return cls(worker, model, settings.waiting, settings.tokens)

    @property
    def length(self) -> int:
        """Positions that a row may have."""
        return self.worker.engine.scheduler.length

    @property
    def is_alive(self) -> bool:
        """The thread runs."""
        return self.worker.is_alive

    @property
    def closed(self) -> Refusal | None:
        """Why it takes no requests now; None if it does."""
        return Draining() if self.worker.is_draining else None

    async def start(self) -> None:
        """Start the thread."""
        self.worker.start()

    def drain(self) -> None:
        """Take nothing new from now on."""
        self.worker.is_draining = True

    async def stop(self) -> None:
        """End what still runs, and the thread."""
        await self.worker.stop()
        self._binder.close()

    def check(self, prompt: SavedPrompt) -> None:
        """The engine runs all of them."""

    async def verify(self, prompt: SavedPrompt, name: str, tenant: str) -> None:
        """Run a token behind the prompt, in the tenant's turn."""
        assert isinstance(self._model, CausalModel)  # else there was no engine
        await self.worker.run(tenant, partial(check_logits, prompt, name, self._model))

    async def bind(self, prompt: SavedPrompt, tenant: str) -> Shelved:
        """Make a prompt ready: its task beside the model's thread, its virtual tokens in passes between its steps."""
        objective = await self._binder.bind_task(prompt, tenant)
        return Shelved.from_parts(prompt, await self._compile(prompt.payload, tenant), objective)

    async def _compile(self, payload: Payload, tenant: str) -> Payload:
        """A payload compiled, some virtual tokens in a pass: others' turns and steps come in between."""
        payload = payload.with_tensor(payload.tensor.to(self._model.device))
        if isinstance(payload, Prefix) and payload.is_complete:
            return payload
        made: Payload | None = None
        while made is None or made.num_virtual_tokens < payload.num_virtual_tokens:
            made = await self.worker.run(tenant, partial(self._compile_further, payload, made, tenant))
        return made

    @torch.no_grad()
    def _compile_further(self, payload: Payload, made: Payload | None, tenant: str) -> Payload:
        """Compile some more of its virtual tokens; in the model's thread."""
        tokens, began = self._compiling.tokens(self.worker.longest_pass([tenant])), time.monotonic()
        further = self._model.compile_further(payload, made, tokens)
        before = 0 if made is None else made.num_virtual_tokens
        self._compiling.observe(further.num_virtual_tokens - before, time.monotonic() - began)
        return further

    async def begin(self, request: Request, payload: Payload | None, hear: Hear) -> Row:
        """Let the engine answer a request."""
        return await self.worker.begin(request, payload, hear)

    async def label(self, shelved: Shelved, texts: Sequence[Text], tenant: str) -> list[list[float]]:
        """Together with the texts of others that wait, steps in between."""
        if not self._admission.allowance(tenant, running=0):
            raise Busy
        with self._admission.holding(tenant):
            return await self._labels.score(shelved, texts, tenant)
