"""vLLM generates after exported prompt embeddings what the engine generates."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from softprompt.engine import Engine, EngineRequest, SamplingParams, TokenOutput
from softprompt.model import FrozenModel, Placement, PromptEmbeddings
from softprompt.saved import SavedPrompt
from softprompt.saved.prompt_embeds import build_prompt_embeds
from softprompt.tasks import GenerationTask
from softprompt.tasks.collation import apply_payload
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from tests_vllm.factories import tiny
from tests_vllm.in_process_engine import running

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
    return SavedPrompt.from_payload(
        model,
        PromptEmbeddings(drawn * model.embedding_rms, placement),
        GenerationTask(template=template),
        method={"name": "prompt"},
        trained_parameters=drawn.numel(),
    )


def expected(model: FrozenModel, prompt: SavedPrompt, text: str) -> list[TokenOutput]:
    """What our engine writes, greedy."""
    payload = prompt.compile_for(model)
    objective = prompt.build_objective(model, payload)
    assert isinstance(objective, LanguageModelingObjective)
    ids = apply_payload(objective.encode_prompt(objective.build_example(text), NEW), payload)[0]
    engine, found = Engine(model, max_num_seqs=1, max_model_len=256), list[TokenOutput]()
    engine.add_request(
        EngineRequest(tuple(ids), SamplingParams(max_new_tokens=NEW, ignore_eos=True, logprobs=1)),
        payload,
        found.append,
    )
    while not engine.is_idle:
        engine.step()
    return found


def test_vllm_generates_the_tokens_of_the_engine_after_prompt_embeddings(llm: Any, model: FrozenModel) -> None:
    from vllm import SamplingParams

    cases = [(made(model, placement), text) for placement in PLACES for text in TEXTS]
    rows = [{"prompt_embeds": build_prompt_embeds(prompt, model, text, NEW)} for prompt, text in cases]
    sampling = SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True, logprobs=1)
    for (prompt, text), output in zip(cases, llm.generate(rows, sampling, use_tqdm=False), strict=True):
        [found], right = output.outputs, expected(model, prompt, text)
        assert list(found.token_ids) == [each.token_id for each in right]
        first = found.logprobs[0][found.token_ids[0]].logprob
        assert first == pytest.approx(right[0].logprob, abs=1e-3)


def test_prompt_embeddings_are_decoded_from_http_unchanged(llm: Any, model: FrozenModel) -> None:
    from vllm.renderers.embed_utils import safe_load_prompt_embeds

    row = build_prompt_embeds(made(model, Placement.AFTER_TEXT), model, TEXTS[0], NEW)
    written = io.BytesIO()
    torch.save(row, written)  # as docs/exits.md sends it
    found = safe_load_prompt_embeds(llm.model_config, base64.b64encode(written.getvalue()))
    assert torch.equal(found, row)
