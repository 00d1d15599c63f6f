"""A replica loads only whole prompts for its own model, and validates requests against them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softprompt.errors import BaseModelMismatch, CorruptPrompt, PeftExportError, SettingError
from softprompt.model import KVPrefix, Payload, Placement, PromptEmbeddings
from softprompt.registry.locations import resolve_artifact_store
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask
from softprompt.vllm.prefix_loader import PrefixLoader, PromptValidator
from softprompt.vllm.served_model import ServedModel
from softprompt.vllm_protocol import PromptTransferParams
from tests.tiny import shared_model

MODEL = shared_model("llama")
SERVED_MODEL = ServedModel(
    "tiny", MODEL.fingerprint, MODEL.shape.num_layers, MODEL.shape.num_kv_heads, MODEL.shape.head_dim
)


def store_prompt(location: Path, payload: Payload) -> str:
    task = GenerationTask(template="{input}")
    saved = SavedPrompt.from_payload(MODEL, payload, task, method={"name": "prefix"}, trained_parameters=1)
    digest = saved.manifest.content_hash.removeprefix("sha256:")
    resolve_artifact_store(location).write_artifact(digest, saved.files)
    return digest


def make_prefix(positions: int = 5, *, has_bos: bool = False) -> KVPrefix:
    placement = Placement.AFTER_BOS if has_bos else Placement.BEFORE
    return KVPrefix(torch.randn(MODEL.shape.get_prefix_shape(positions)), placement, has_bos)


def test_prefix_is_loaded_with_all_its_positions(tmp_path: Path) -> None:
    stored = make_prefix(5, has_bos=True)
    loaded = PrefixLoader(str(tmp_path), SERVED_MODEL).load_prefix(store_prompt(tmp_path, stored))
    assert torch.equal(loaded.tensor, stored.tensor)
    assert loaded.num_positions == 5


def test_missing_prompt_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(CorruptPrompt, match="is missing"):
        PrefixLoader(str(tmp_path), SERVED_MODEL).load_prefix("0" * 64)


def test_prompt_embeddings_are_rejected_with_a_remedy(tmp_path: Path) -> None:
    digest = store_prompt(tmp_path, PromptEmbeddings(torch.randn(3, MODEL.shape.embedding_size)))
    with pytest.raises(PeftExportError, match="--compile"):
        PrefixLoader(str(tmp_path), SERVED_MODEL).load_prefix(digest)


@pytest.mark.parametrize("change", [{"num_layers": 4}, {"num_kv_heads": 1}, {"head_dim": 8}])
def test_prefix_of_another_shape_is_rejected(tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(BaseModelMismatch, match="do not fit"):
        PrefixLoader(str(tmp_path), replace(SERVED_MODEL, **change)).load_prefix(store_prompt(tmp_path, make_prefix()))


def test_prompt_for_another_model_is_rejected(tmp_path: Path) -> None:
    other = replace(SERVED_MODEL, fingerprint="sha256:" + "0" * 16)
    with pytest.raises(BaseModelMismatch, match=MODEL.fingerprint):
        PrefixLoader(str(tmp_path), other).load_prefix(store_prompt(tmp_path, make_prefix()))


def test_prompt_is_loaded_once_for_validation(tmp_path: Path) -> None:
    digest = store_prompt(tmp_path, make_prefix(5))
    validator = PromptValidator(PrefixLoader(str(tmp_path), SERVED_MODEL))
    validator.validate_params(PromptTransferParams(digest, 5))
    shutil.rmtree(tmp_path / digest)
    validator.validate_params(PromptTransferParams(digest, 5))


def test_other_number_of_positions_is_rejected(tmp_path: Path) -> None:
    validator = PromptValidator(PrefixLoader(str(tmp_path), SERVED_MODEL))
    with pytest.raises(SettingError, match="has 5 positions, but the request has 6"):
        validator.validate_params(PromptTransferParams(store_prompt(tmp_path, make_prefix(5)), 6))


def test_least_recently_validated_prompt_is_loaded_again(tmp_path: Path) -> None:
    validator = PromptValidator(PrefixLoader(str(tmp_path), SERVED_MODEL), capacity=1)
    first, second = store_prompt(tmp_path, make_prefix(5)), store_prompt(tmp_path, make_prefix(6))
    validator.validate_params(PromptTransferParams(first, 5))
    validator.validate_params(PromptTransferParams(second, 6))
    shutil.rmtree(tmp_path / first)
    with pytest.raises(CorruptPrompt):
        validator.validate_params(PromptTransferParams(first, 5))
