"""Initial values of virtual tokens. What a text initializer reports about itself is row 18 in docs/peft.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from softprompt.errors import BaseModelMismatch, SettingError
from softprompt.model import FrozenModel, Placement
from softprompt.prompts.initializers import EMBEDDING_INITIALIZERS, PREFIX_INITIALIZERS, InitContext
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model, tiny_model


def request(model: FrozenModel, argument: str, P: int = 4, placement: Placement = Placement.BEFORE) -> InitContext:
    return InitContext(model, P, placement, argument, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [name for name in EMBEDDING_INITIALIZERS if name != "prompt"])
def test_initializers_return_the_right_shapes(name: str) -> None:
    model = shared_model("llama")
    assert EMBEDDING_INITIALIZERS[name](request(model, "the film")).tensor.shape == (4, 24)
    assert PREFIX_INITIALIZERS[name](request(model, "the film")).tensor.shape == model.shape.get_prefix_shape(4)


def test_a_prefix_from_text_after_the_bos_has_the_keys_of_its_positions() -> None:
    """Keys after the rotary embedding depend on their position, which is one larger after the BOS."""
    model = shared_model("llama")
    assert model.prompt_tokenizer.bos_token_id is not None
    ids = model.prompt_tokenizer.tokenize("the film was great")[:4]
    start = PREFIX_INITIALIZERS["text"](request(model, "the film was great", placement=Placement.AFTER_BOS))
    whole = model.compute_kv(model.embed_tokens(torch.tensor([[model.prompt_tokenizer.bos_token_id, *ids]]))[0])
    torch.testing.assert_close(start.tensor, whole[:, :, :, 1:])


def saved(model: FrozenModel, kind: str, folder: Path) -> Path:
    payload = random_prefix(model, 4, 0) if kind == "prefix" else random_embeddings(model, 4, 0)
    SavedPrompt.from_payload(model, payload, GenerationTask(), method={"name": kind}, trained_parameters=1).save_to(
        folder
    )
    return folder


def test_a_saved_prompt_initializes_embeddings_and_prefixes(tmp_path: Path) -> None:
    model = shared_model("llama")
    folder = saved(model, "embeddings", tmp_path / "p")
    payload = SavedPrompt.from_folder(folder).payload
    assert torch.equal(EMBEDDING_INITIALIZERS["prompt"](request(model, str(folder))).tensor, payload.tensor)
    torch.testing.assert_close(
        PREFIX_INITIALIZERS["prompt"](request(model, str(folder))).tensor, model.compute_kv(payload.tensor)
    )


def test_embeddings_cannot_start_from_a_prefix(tmp_path: Path) -> None:
    model = shared_model("llama")
    with pytest.raises(SettingError, match="only a prefix can start from it"):
        EMBEDDING_INITIALIZERS["prompt"](request(model, str(saved(model, "prefix", tmp_path / "p"))))


def test_the_error_of_a_different_number_of_virtual_tokens_states_the_right_one(tmp_path: Path) -> None:
    model = shared_model("llama")
    with pytest.raises(SettingError, match="choose `num_virtual_tokens=4`"):
        EMBEDDING_INITIALIZERS["prompt"](request(model, str(saved(model, "embeddings", tmp_path / "p")), P=6))


def test_initializing_from_a_prompt_of_another_base_model_is_rejected(tmp_path: Path) -> None:
    folder = saved(tiny_model("llama", seed=1), "embeddings", tmp_path / "p")
    with pytest.raises(BaseModelMismatch):
        EMBEDDING_INITIALIZERS["prompt"](request(shared_model("llama"), str(folder)))
