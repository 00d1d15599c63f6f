"""A replica reads a prompt whole and for the model that it runs, or says what is wrong with it."""

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
BASE = ServedModel("tiny", MODEL.fingerprint, MODEL.shape.num_layers, MODEL.shape.num_kv_heads, MODEL.shape.head_dim)


def put(place: Path, payload: Payload) -> str:
    task = GenerationTask(template="{input}")
    saved = SavedPrompt.from_payload(MODEL, payload, task, method={"name": "prefix"}, trained_parameters=1)
    content = saved.manifest.content_hash.removeprefix("sha256:")
    resolve_artifact_store(place).write_artifact(content, saved.files)
    return content


def prefix(positions: int = 5, *, has_bos: bool = False) -> KVPrefix:
    place = Placement.AFTER_BOS if has_bos else Placement.BEFORE
    return KVPrefix(torch.randn(MODEL.shape.get_prefix_shape(positions)), place, has_bos)


def test_a_prefix_is_read_with_all_its_positions(tmp_path: Path) -> None:
    written = prefix(5, has_bos=True)
    read = PrefixLoader(str(tmp_path), BASE).load_prefix(put(tmp_path, written))
    assert torch.equal(read.tensor, written.tensor)
    assert read.num_positions == 5


def test_one_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CorruptPrompt, match="is missing"):
        PrefixLoader(str(tmp_path), BASE).load_prefix("0" * 64)


def test_embeddings_are_refused_with_what_to_do(tmp_path: Path) -> None:
    content = put(tmp_path, PromptEmbeddings(torch.randn(3, MODEL.shape.embedding_size)))
    with pytest.raises(PeftExportError, match="--compile"):
        PrefixLoader(str(tmp_path), BASE).load_prefix(content)


@pytest.mark.parametrize("change", [{"num_layers": 4}, {"num_kv_heads": 1}, {"head_dim": 8}])
def test_other_sizes_are_refused(tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(BaseModelMismatch, match="do not fit"):
        PrefixLoader(str(tmp_path), replace(BASE, **change)).load_prefix(put(tmp_path, prefix()))


def test_another_models_prompt_is_refused(tmp_path: Path) -> None:
    other = replace(BASE, fingerprint="sha256:" + "0" * 16)
    with pytest.raises(BaseModelMismatch, match=MODEL.fingerprint):
        PrefixLoader(str(tmp_path), other).load_prefix(put(tmp_path, prefix()))


def test_a_prompt_is_looked_at_once(tmp_path: Path) -> None:
    content = put(tmp_path, prefix(5))
    looked = PromptValidator(PrefixLoader(str(tmp_path), BASE))
    looked.validate_params(PromptTransferParams(content, 5))
    shutil.rmtree(tmp_path / content)
    looked.validate_params(PromptTransferParams(content, 5))


def test_other_positions_are_refused(tmp_path: Path) -> None:
    looked = PromptValidator(PrefixLoader(str(tmp_path), BASE))
    with pytest.raises(SettingError, match="has 5 positions, but the request has 6"):
        looked.validate_params(PromptTransferParams(put(tmp_path, prefix(5)), 6))


def test_only_so_many_are_remembered(tmp_path: Path) -> None:
    looked = PromptValidator(PrefixLoader(str(tmp_path), BASE), capacity=1)
    first, second = put(tmp_path, prefix(5)), put(tmp_path, prefix(6))
    looked.validate_params(PromptTransferParams(first, 5))
    looked.validate_params(PromptTransferParams(second, 6))
    shutil.rmtree(tmp_path / first)
    with pytest.raises(CorruptPrompt):
        looked.validate_params(PromptTransferParams(first, 5))
