"""A replica loads only whole prompts for its own model, and validates requests against them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softprompt.errors import BaseModelMismatch, CorruptPrompt, PeftExportError, SettingError
from softprompt.model import KVPrefix, Payload, Placement, PromptEmbeddings
from softprompt.registry.locations import resolve_artifact_store
from softprompt.saved import SavedPrompt, tensor_files
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


def test_positions_are_counted_without_parsing_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store_prompt(tmp_path, make_prefix(5, has_bos=True))
    monkeypatch.setattr(tensor_files, "load", None)
    assert PrefixLoader(str(tmp_path), SERVED_MODEL).count_positions(digest) == 5


READERS = pytest.mark.parametrize("read", [PrefixLoader.load_prefix, PrefixLoader.count_positions])


@READERS
def test_missing_prompt_is_rejected(tmp_path: Path, read: Callable[[PrefixLoader, str], object]) -> None:
    with pytest.raises(CorruptPrompt, match="is missing"):
        read(PrefixLoader(str(tmp_path), SERVED_MODEL), "0" * 64)


@READERS
@pytest.mark.parametrize("name", ["softprompt.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "changed", "removed"])
def test_damaged_prompt_is_rejected(
    tmp_path: Path, read: Callable[[PrefixLoader, str], object], name: str, damage: str
) -> None:
    digest = store_prompt(tmp_path, make_prefix())
    file = tmp_path / digest / name
    content = file.read_bytes()
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(content[:-5] if damage == "cut" else content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    with pytest.raises(CorruptPrompt):
        read(PrefixLoader(str(tmp_path), SERVED_MODEL), digest)


@READERS
def test_prompt_embeddings_are_rejected_with_a_remedy(
    tmp_path: Path, read: Callable[[PrefixLoader, str], object]
) -> None:
    digest = store_prompt(tmp_path, PromptEmbeddings(torch.randn(3, MODEL.shape.embedding_size)))
    with pytest.raises(PeftExportError, match="--compile"):
        read(PrefixLoader(str(tmp_path), SERVED_MODEL), digest)


@pytest.mark.parametrize("change", [{"num_layers": 4}, {"num_kv_heads": 1}, {"head_dim": 8}])
@READERS
def test_prefix_of_another_shape_is_rejected(
    tmp_path: Path, change: dict[str, int], read: Callable[[PrefixLoader, str], object]
) -> None:
    with pytest.raises(BaseModelMismatch, match="do not fit"):
        read(PrefixLoader(str(tmp_path), replace(SERVED_MODEL, **change)), store_prompt(tmp_path, make_prefix()))


@READERS
def test_prompt_for_another_model_is_rejected(tmp_path: Path, read: Callable[[PrefixLoader, str], object]) -> None:
    other = replace(SERVED_MODEL, fingerprint="sha256:" + "0" * 16)
    with pytest.raises(BaseModelMismatch, match=MODEL.fingerprint):
        read(PrefixLoader(str(tmp_path), other), store_prompt(tmp_path, make_prefix()))


def test_prompt_is_read_once_for_validation(tmp_path: Path) -> None:
    digest = store_prompt(tmp_path, make_prefix(5))
    validator = PromptValidator(PrefixLoader(str(tmp_path), SERVED_MODEL))
    validator.validate_params(PromptTransferParams(digest, 5))
    shutil.rmtree(tmp_path / digest)
    validator.validate_params(PromptTransferParams(digest, 5))


def test_other_number_of_positions_is_rejected(tmp_path: Path) -> None:
    validator = PromptValidator(PrefixLoader(str(tmp_path), SERVED_MODEL))
    with pytest.raises(SettingError, match="has 5 positions, but the request has 6"):
        validator.validate_params(PromptTransferParams(store_prompt(tmp_path, make_prefix(5)), 6))


def test_least_recently_validated_prompt_is_read_again(tmp_path: Path) -> None:
    validator = PromptValidator(PrefixLoader(str(tmp_path), SERVED_MODEL), capacity=1)
    first, second = store_prompt(tmp_path, make_prefix(5)), store_prompt(tmp_path, make_prefix(6))
    validator.validate_params(PromptTransferParams(first, 5))
    validator.validate_params(PromptTransferParams(second, 6))
    shutil.rmtree(tmp_path / first)
    with pytest.raises(CorruptPrompt):
        validator.validate_params(PromptTransferParams(first, 5))
