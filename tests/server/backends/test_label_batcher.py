"""Texts of several tenants and prompts share forward passes, and their scores equal those of each text alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from softprompt.engine import Engine
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.model import FrozenModel, Placement
from softprompt.server.backends import label_batcher, label_request
from softprompt.server.backends.engine_worker import EngineWorker
from softprompt.server.backends.label_batcher import LabelBatcher
from softprompt.server.backends.label_request import LabelRequest
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.concurrency.pass_size_estimator import PassSizeEstimator
from softprompt.server.request_errors import InferenceFailed
from softprompt.server.server_metrics import ServerMetrics
from softprompt.tasks import ClassificationTask, EncodedExample
from tests.server.live_server import REVIEWS, prompt_for

MANY = ClassificationTask(template="{text}:", labels=tuple(f"kind {i % 7} of {i}" for i in range(40)))


def shelved(model: FrozenModel, task: ClassificationTask, seed: int, placement: Placement) -> LoadedPrompt:
    prompt = prompt_for(model, task, seed, placement)
    payload = prompt.compile_for(model)
    return LoadedPrompt.from_saved_prompt(prompt, payload, prompt.build_objective(model, payload))


@pytest.fixture(scope="module")
def prompts(chatting: FrozenModel) -> list[LoadedPrompt]:
    places = (Placement.BEFORE, Placement.AFTER_BOS, Placement.AFTER_TEXT)
    return [shelved(chatting, task, i, place) for i, place in enumerate(places) for task in (REVIEWS, MANY)]


def row(model: FrozenModel, length: int) -> EncodedExample:
    return EncodedExample(model.prompt_tokenizer.add_special_tokens([3 + i * 7 % 300 for i in range(length)]))


def alone(prompt: LoadedPrompt, text: EncodedExample) -> list[float]:
    found: list[float] = collect_outputs(prompt.objective, prompt.payload, [text])[0].tolist()
    return found


def run(
    model: FrozenModel, tokens: int, test: Callable[[LabelBatcher, EngineWorker], Awaitable[Any]]
) -> tuple[Any, list[int]]:
    """What a test finds, and of each pass how many texts it was for."""
    passes: list[int] = []

    async def started() -> Any:
        worker = EngineWorker(Engine(model, max_num_seqs=2, max_model_len=128), ServerMetrics())
        batches = LabelBatcher(worker, model, tokens)
        take = batches._take_batch

        def noted(most: int) -> Any:
            taken = take(most)
            passes.append(len(taken))
            return taken

        batches._take_batch = noted  # type: ignore[method-assign]
        worker.start()
        try:
            return await asyncio.wait_for(test(batches, worker), 60)
        finally:
            await worker.stop()

    return asyncio.run(started()), passes


def test_texts_of_several_tenants_and_prompts_share_a_forward_pass(
    chatting: FrozenModel, prompts: list[LoadedPrompt]
) -> None:
    texts = [row(chatting, 3 + i) for i in range(len(prompts))]

    async def test(batches: LabelBatcher, worker: EngineWorker) -> Any:
        held = threading.Event()
        first = asyncio.create_task(worker.run_job("held", held.wait))
        asked = [
            asyncio.create_task(batches.score_labels(prompt, [text], f"tenant-{i}"))
            for i, (prompt, text) in enumerate(zip(prompts, texts, strict=True))
        ]
        await asyncio.sleep(0.01)
        held.set()
        await first
        return await asyncio.gather(*asked)

    found, passes = run(chatting, 4096, test)
    assert passes == [len(prompts)]
    for [scores], prompt, text in zip(found, prompts, texts, strict=True):
        assert scores == pytest.approx(alone(prompt, text), abs=1e-4)


def test_a_long_text_is_scored_in_several_passes_and_does_not_delay_another_tenant(
    chatting: FrozenModel, prompts: list[LoadedPrompt]
) -> None:
    """Another tenant's short text is scored first."""
    long, short = row(chatting, 60), row(chatting, 4)
    order: list[str] = []

    async def test(batches: LabelBatcher, _: EngineWorker) -> Any:
        async def score(name: str, prompt: LoadedPrompt, texts: list[EncodedExample]) -> Any:
            scores = await batches.score_labels(prompt, texts, name)
            order.append(name)
            return scores

        return await asyncio.gather(
            *(score("many", prompt, [long] * 2) for prompt in prompts), score("other", prompts[0], [short])
        )

    found, passes = run(chatting, 24, test)
    assert order[0] == "other"
    assert len(passes) > 4 * len(prompts)
    assert max(passes) <= 24 // len(short)
    for scores, prompt in zip(found, prompts, strict=False):
        for each in scores:
            assert each == pytest.approx(alone(prompt, long), abs=1e-4)
    assert found[-1][0] == pytest.approx(alone(prompts[0], short), abs=1e-4)


def test_tenants_pay_for_their_texts_in_a_shared_pass(
    chatting: FrozenModel, prompts: list[LoadedPrompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is first in the queue does not pay for the others."""
    texts = {name: row(chatting, length) for name, length in (("first", 4), ("second", 12), ("third", 40))}

    async def test(batches: LabelBatcher, worker: EngineWorker) -> Any:
        held, paid = threading.Event(), list[dict[str, float]]()
        charge = worker._charge_tenants
        monkeypatch.setattr(worker, "_charge_tenants", lambda *args: paid.append(charge(*args)) or paid[-1])
        blocking = asyncio.create_task(worker.run_job("held", held.wait))
        asked = [asyncio.create_task(batches.score_labels(prompts[0], [text], name)) for name, text in texts.items()]
        await asyncio.sleep(0.01)
        held.set()
        await asyncio.gather(blocking, *asked)
        await worker.run_between_steps(lambda: None)  # runs once the job before it was charged
        service = {name: worker._job_queue.get_tenant_service(name) for name in texts}
        return paid[-1], service, worker.engine.recent_tenants

    (paid, service, recent), passes = run(chatting, 4096, test)
    assert passes == [3]
    assert service == pytest.approx(paid)
    costs = {name: LabelRequest(prompts[0], text).estimate_cost(4096) for name, text in texts.items()}
    assert {name: seconds / sum(paid.values()) for name, seconds in paid.items()} == pytest.approx(
        {name: cost / sum(costs.values()) for name, cost in costs.items()}
    )
    assert all(recent.has_others([*(texts.keys() - {name}), "held"]) for name in texts)


@pytest.mark.parametrize("max_tokens", [8, 24, 4096])
@pytest.mark.parametrize("length", [25, 60])
def test_a_text_is_charged_for_the_tokens_that_are_computed(
    chatting: FrozenModel, prompts: list[LoadedPrompt], monkeypatch: pytest.MonkeyPatch, length: int, max_tokens: int
) -> None:
    """Also if its last part is smaller than a pass, or if each part computes virtual tokens again."""
    monkeypatch.setattr(label_request, "POSITION_COST", 0.0)
    charged, computed = list[float](), list[int]()

    async def score(batches: LabelBatcher, prompt: LoadedPrompt) -> None:
        charge = batches._queue.charge_tenant
        monkeypatch.setattr(batches._queue, "charge_tenant", lambda *args: charged.append(args[1]) or charge(*args))
        await batches.score_labels(prompt, [row(chatting, length)], "acme")

    embedding = chatting.network.get_input_embeddings()
    hook = embedding.register_forward_hook(lambda *args: computed.append(args[1][0].numel()))
    for prompt in prompts:
        charged.clear()
        computed.clear()
        run(chatting, max_tokens, lambda batches, _, prompt=prompt: score(batches, prompt))
        assert sum(charged) == sum(computed)
    hook.remove()


def test_a_failing_text_does_not_fail_its_batch(
    chatting: FrozenModel, prompts: list[LoadedPrompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    score_together, bad = label_batcher.score_batch, row(chatting, 13)

    def failing(model: FrozenModel, texts: Any) -> None:
        if any(text.example is bad for text in texts):
            raise RuntimeError("this one")
        score_together(model, texts)

    monkeypatch.setattr(label_batcher, "score_batch", failing)

    async def test(batches: LabelBatcher, _: EngineWorker) -> Any:
        asked = [batches.score_labels(prompts[0], [text], "acme") for text in (row(chatting, 5), bad, row(chatting, 6))]
        return await asyncio.gather(*asked, return_exceptions=True)

    (first, failed, last), _ = run(chatting, 4096, test)
    assert isinstance(failed, InferenceFailed)
    for [scores], length in ((first, 5), (last, 6)):
        assert scores == pytest.approx(alone(prompts[0], row(chatting, length)), abs=1e-4)


def test_cancelled_texts_are_not_scored(chatting: FrozenModel, prompts: list[LoadedPrompt]) -> None:
    async def test(batches: LabelBatcher, worker: EngineWorker) -> Any:
        held = threading.Event()
        first = asyncio.create_task(worker.run_job("held", held.wait))
        asked = [asyncio.create_task(batches.score_labels(prompts[0], [row(chatting, 5)], "acme")) for _ in range(3)]
        await asyncio.sleep(0.01)
        asked[0].cancel()
        await asyncio.wait([asked[0]])
        held.set()
        await first
        return await asyncio.gather(*asked, return_exceptions=True)

    found, passes = run(chatting, 4096, test)
    assert isinstance(found[0], asyncio.CancelledError)
    assert passes == [2]


def test_forward_passes_are_shorter_while_another_tenant_is_active(
    chatting: FrozenModel, prompts: list[LoadedPrompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forward pass cannot be interrupted: the requests of other tenants wait for it."""
    monkeypatch.setattr(PassSizeEstimator, "observe_pass", lambda *_: None)
    texts = [row(chatting, 8) for _ in range(60)]

    async def test(batches: LabelBatcher, worker: EngineWorker) -> None:
        batches._pass_size._rate = 1000.0  # tokens a second
        await batches.score_labels(prompts[0], texts, "many")
        await worker.run_job("other", lambda: None)
        await batches.score_labels(prompts[0], texts, "many")

    _, passes = run(chatting, 4096, test)
    assert (passes[0], sum(passes)) == (60, 120)
    assert max(passes[1:]) <= 6  # of 8 tokens each, where a pass may take 50 ms
