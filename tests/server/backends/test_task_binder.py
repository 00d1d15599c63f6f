"""Tasks are bound in a thread of their own, and virtual tokens are compiled in several forward passes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import torch

from softprompt.engine import Engine
from softprompt.model import FrozenModel, Placement
from softprompt.saved import SavedPrompt
from softprompt.server.backends.engine_backend import EngineBackend
from softprompt.server.backends.engine_worker import EngineWorker
from softprompt.server.server_metrics import ServerMetrics
from softprompt.tasks import ClassificationTask
from tests.server.live_server import REVIEWS
from tests.strategies import random_embeddings


def test_a_task_is_bound_outside_the_event_loop_and_model_threads(
    chatting: FrozenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    bind = ClassificationTask.build_objective

    def noted(self: ClassificationTask, *rest: Any) -> Any:
        threads.append(threading.current_thread().name)
        return bind(self, *rest)

    monkeypatch.setattr(ClassificationTask, "build_objective", noted)
    make_ready(chatting, 3, Placement.BEFORE)
    assert [name.partition("_")[0] for name in threads] == ["prompts"]


@pytest.mark.parametrize("placement", [Placement.BEFORE, Placement.AFTER_BOS])
def test_many_virtual_tokens_are_compiled_in_several_small_forward_passes(
    chatting: FrozenModel, placement: Placement
) -> None:
    shelved, prompt, passes = make_ready(chatting, 37, placement)
    with torch.no_grad():
        whole = chatting.compile_payload(prompt.payload)
    assert torch.allclose(shelved.payload.tensor, whole.tensor, atol=1e-5)
    assert (shelved.payload.has_bos, shelved.payload.placement) == (whole.has_bos, placement)
    assert passes == [8, 8, 8, 8, 5]


def make_ready(model: FrozenModel, count: int, placement: Placement) -> tuple[Any, SavedPrompt, list[int]]:
    """A prompt made ready, and of each pass of the model how many virtual tokens it took."""
    payload = random_embeddings(model, count, seed=1, placement=placement)
    prompt = SavedPrompt.from_payload(model, payload, REVIEWS, method={"name": "prompt"}, trained_parameters=1)
    passes: list[int] = []

    async def bind() -> Any:
        backend = EngineBackend(
            EngineWorker(Engine(model, max_num_seqs=2, max_model_len=64), ServerMetrics()),
            model,
            max_num_batched_tokens=8,
        )
        run, made = backend.worker.run_job, 0

        async def noted(tenant: str, work: Any) -> Any:
            nonlocal made
            result = await run(tenant, work)
            passes.append(result.num_virtual_tokens - made)
            made = result.num_virtual_tokens
            return result

        backend.worker.run_job = noted  # type: ignore[method-assign]
        await backend.start()
        try:
            return await backend.load_prompt(prompt, "acme")
        finally:
            await backend.stop()

    return asyncio.run(bind()), prompt, passes
