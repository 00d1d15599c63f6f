"""A model without weights: its sizes and fingerprint, and the prompts that it accepts or rejects."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from softprompt.errors import BaseModelMismatch, ModelNotFound, ModelNotSupported
from softprompt.model import FrozenModel, KVPrefix, Placement, load_meta_model
from softprompt.model.frozen_model import UNKNOWN_FINGERPRINT
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask
from tests.strategies import random_embeddings
from tests.tiny import CONFIGS, tiny_model

TASK = GenerationTask(template="{input}\nAnswer:")


def written(model: FrozenModel, folder: Path) -> Path:
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tiny_model("llama"), tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("family", CONFIGS)
def test_a_meta_model_has_the_shape_and_fingerprint_of_the_loaded_model(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    weightless = load_meta_model(str(written(model, tmp_path)))
    assert (weightless.shape, weightless.prompt_tokenizer.bos_token_id, weightless.eos_token_id) == (
        model.shape,
        model.prompt_tokenizer.bos_token_id,
        model.eos_token_id,
    )
    assert weightless.device == torch.device("meta")
    if family == "gpt_neox":  # its files have other parameter names
        assert weightless.matches_fingerprint(model.fingerprint)
    else:
        assert weightless.fingerprint == model.fingerprint


def test_a_prompt_compiled_for_a_meta_model_has_only_a_shape(folder: Path) -> None:
    model, weightless = tiny_model("llama"), load_meta_model(str(folder))
    payload = random_embeddings(model, 3, seed=0, placement=Placement.AFTER_BOS)
    prompt = SavedPrompt.from_payload(model, payload, TASK, method={"name": "prompt"}, trained_parameters=72).to_prefix(
        model
    )
    own, bound = prompt.compile_for(model), prompt.compile_for(weightless)
    assert isinstance(bound, KVPrefix)
    assert bound.tensor.is_meta
    assert bound.tensor.shape == own.tensor.shape
    assert bound.apply_to_prompt([0, 5, 6]) == own.apply_to_prompt([0, 5, 6])


def test_a_prompt_of_other_weights_is_rejected_without_loading_them(folder: Path) -> None:
    other = tiny_model("llama", seed=3)
    prompt = SavedPrompt.from_payload(
        other, random_embeddings(other, 3, seed=0), TASK, method={"name": "prompt"}, trained_parameters=72
    )
    with pytest.raises(BaseModelMismatch):
        prompt.check_base_model(load_meta_model(str(folder)))


def test_without_weight_files_the_fingerprint_is_unknown_and_sizes_are_known(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    weightless, model = load_meta_model(str(bare)), tiny_model("llama")
    assert weightless.fingerprint == UNKNOWN_FINGERPRINT
    assert weightless.matches_fingerprint(model.fingerprint)
    prompt = SavedPrompt.from_payload(
        model, random_embeddings(model, 3, seed=0), TASK, method={"name": "prompt"}, trained_parameters=72
    )
    prompt.check_base_model(weightless)
    assert prompt.to_prefix(model).compile_for(weightless).num_positions == 3


def test_masked_and_missing_models_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelNotSupported, match="masked"):
        load_meta_model(str(written(tiny_model("bert"), tmp_path / "bert")))
    with pytest.raises(ModelNotFound):
        load_meta_model(str(tmp_path))
