"""The fingerprint that is read from a model's files equals that of the loaded model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from softprompt.errors import SettingError
from softprompt.model.checkpoint_info import read_fingerprint
from softprompt.vllm.served_model import resolve_model_fingerprint
from tests.tiny import shared_model


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma2", "phi3", "opt", "falcon"])
def test_the_fingerprint_read_from_files_equals_that_of_the_model(tmp_path: Path, family: str) -> None:
    model = shared_model(family)
    model.network.save_pretrained(tmp_path)
    assert read_fingerprint(tmp_path) == model.fingerprint


def test_the_fingerprint_read_from_several_files_equals_that_of_the_model(tmp_path: Path) -> None:
    model = shared_model("llama")
    model.network.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert resolve_model_fingerprint(str(tmp_path)) == model.fingerprint


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_fingerprint_read_from_half_precision_files_equals_that_of_the_loaded_model(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    import copy

    from softprompt.model import load_model

    model = shared_model("llama")
    copy.deepcopy(model.network).to(dtype).save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    assert read_fingerprint(tmp_path) == load_model(str(tmp_path), device="cpu").fingerprint


def test_files_with_unknown_weight_names_raise_setting_error(tmp_path: Path) -> None:
    shared_model("llama").network.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({f"other.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(SettingError, match="softprompt show"):
        read_fingerprint(tmp_path)


def test_files_with_quantized_weights_raise_setting_error(tmp_path: Path) -> None:
    shared_model("llama").network.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name: tensor.to(torch.int8) for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(SettingError, match="int8"):
        read_fingerprint(tmp_path)


def test_a_folder_without_weight_files_raises_setting_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(SettingError):
        read_fingerprint(tmp_path)


def test_a_model_that_was_never_downloaded_raises_setting_error() -> None:
    with pytest.raises(SettingError, match="fingerprint"):
        resolve_model_fingerprint("nobody/has-this-model")
