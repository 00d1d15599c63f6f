"""A text behind a prompt of embeddings, embedded: vLLM writes behind it what our own engine writes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from softprompt.engine import Engine, Request, Sampling, Written
from softprompt.model import Embeddings, FrozenModel, Placement
from softprompt.saved import SavedPrompt
from softprompt.saved.prompt_embeds import prompt_embeds
from softprompt.tasks import GenerationTask
from softprompt.tasks.objective import arranged
from softprompt.tasks.writing import WritingObjective
from tests_vllm.making import tiny
from tests_vllm.running import running

NEW = 12
TEXTS = ("the film was great fun", "a bore")
PLACES = (Placement.BEFORE, Placement.AFTER_TEXT, Placement.IN_TEMPLATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> FrozenModel:
    return tiny(folder)


@pytest.fixture(scope="module")
def llm(folder: Path, model: FrozenModel) -> Iterator[Any]:
    with running(folder, folder, kv_transfer_config=None, enable_prompt_embeds=True, max_num_seqs=8) as llm:
        yield llm


def made(model: FrozenModel, placement: Placement) -> SavedPrompt:
    """Embeddings as large as the model's own, in one place."""
    drawn = torch.randn(5, model.shape.hidden_size, generator=torch.Generator().manual_seed(3))
    template = "[P1][P2] {input} [P3][P4][P5]" if placement is Placement.IN_TEMPLATE else "Text: {input}\nAnswer:"
    return SavedPrompt.make(
        model,
        Embeddings(drawn * model.embedding_scale, placement),
        GenerationTask(template=template),
        method={"name": "prompt"},
        trained_parameters=drawn.numel(),
    )


def expected(model: FrozenModel, prompt: SavedPrompt, text: str) -> list[Written]:
    """What our engine writes, greedy."""
    payload = prompt.bound(model)
    objective = prompt.objective(model, payload)
    assert isinstance(objective, WritingObjective)
    ids = arranged(objective.encode_prompt(objective.asked(text), NEW), payload)[0]
    engine, found = Engine(model, slots=1, length=256), list[Written]()
    engine.add(Request(tuple(ids), Sampling(max_new_tokens=NEW, ignore_eos=True, logprobs=1)), payload, found.append)
    while not engine.is_idle:
        engine.step()
    return found


def test_vllm_writes_the_same(llm: Any, model: FrozenModel) -> None:
    from vllm import SamplingParams

    cases = [(made(model, placement), text) for placement in PLACES for text in TEXTS]
    rows = [{"prompt_embeds": prompt_embeds(prompt, model, text, NEW)} for prompt, text in cases]
    sampling = SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True, logprobs=1)
    for (prompt, text), output in zip(cases, llm.generate(rows, sampling, use_tqdm=False), strict=True):
        [found], right = output.outputs, expected(model, prompt, text)
        assert list(found.token_ids) == [each.token for each in right]
        first = found.logprobs[0][found.token_ids[0]].logprob
        assert first == pytest.approx(right[0].logprob, abs=1e-3)


def test_it_comes_through_http_as_it_is(llm: Any, model: FrozenModel) -> None:
    from vllm.renderers.embed_utils import safe_load_prompt_embeds

    row = prompt_embeds(made(model, Placement.AFTER_TEXT), model, TEXTS[0], NEW)
    written = io.BytesIO()
    torch.save(row, written)  # as docs/exits.md sends it
    found = safe_load_prompt_embeds(llm.model_config, base64.b64encode(written.getvalue()))
    assert torch.equal(found, row)
