"""Devices, precisions, and base models with quantized weights."""

from __future__ import annotations

import ctypes
import json
import logging
import re
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, LlamaConfig

import softprompt
from softprompt.errors import SettingError
from softprompt.model import load_model
from softprompt.saved import SavedPrompt
from tests.tiny import shared_model, template_for
from tests.warm import exit_code

SIZE: dict[str, Any] = {
    "vocab_size": 384,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def folder_of(family: str, tmp_path: Path) -> Path:
    """Save a model that is wide enough for 4-bit kernels."""
    torch.manual_seed(0)
    network = (
        AutoModelForMaskedLM.from_config(BertConfig(**SIZE))
        if family == "bert"
        else AutoModelForCausalLM.from_config(LlamaConfig(**SIZE))
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(tmp_path / family)
    shared_model(family).tokenizer.save_pretrained(tmp_path / family)
    return tmp_path / family


@pytest.mark.filterwarnings("ignore")  # bitsandbytes warns about slow CPU kernels
@pytest.mark.parametrize("dtype", ["int8", "nf4"])
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_prompt_is_trained_through_quantized_weights(
    family: str, dtype: str, reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(family, tmp_path)
    model = load_model(str(folder), device="cpu", dtype=dtype)
    plain = load_model(str(folder), device="cpu")
    assert (model.precision, plain.precision) == (dtype, "float32")
    assert (model.fingerprint, model.num_parameters) == (plain.fingerprint, plain.num_parameters)
    ids = torch.tensor([[0, 9, 10, 11]])
    with torch.no_grad():
        rounded, exact = (m.compute_logits(m.compute_hidden_states(ids, ids >= 0)) for m in (model, plain))
    assert 1e-4 < (rounded - exact).abs().mean() < 0.3 * exact.abs().mean()
    steps = {"data": reviews, "validation": reviews, "output": tmp_path / "p", "num_virtual_tokens": 3, "batch_size": 8}
    tuned = softprompt.tune(
        model, **steps, template=template_for(family), method="prompt", max_steps=20, learning_rate=0.05
    )
    assert tuned.prompt is not None
    assert tuned.prompt.payload.tensor.dtype == torch.float32
    saved = SavedPrompt.from_folder(tmp_path / "p")
    assert saved.manifest.base.dtype == dtype
    before = softprompt.evaluate(model, saved, softprompt_examples(reviews))
    assert before["loss"] < before["hard_prompt"]["loss"]
    with caplog.at_level(logging.WARNING, logger="softprompt.saved"):
        saved.compile_for(plain)
    assert f"trained in {dtype} and is used in float32" in caplog.text


def softprompt_examples(path: Path) -> object:
    from softprompt.data import read_examples

    return read_examples(path)


def anonymous_memory() -> int:
    """Return the bytes of this process that no file backs, which must fit into memory."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def give_back_at_once() -> None:
    """Make glibc return freed memory to the system at once, so that only memory in use is measured."""
    c = ctypes.CDLL(None)
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    c.mallopt(M_MMAP_THRESHOLD, 2**16)
    c.mallopt(M_TRIM_THRESHOLD, 2**16)


def load_and_watch(folder: Path, dtype: str) -> None:
    warnings.simplefilter("ignore")
    give_back_at_once()
    load_model(str(folder / "llama"), device="cpu", dtype=dtype)  # once, for memory that the libraries keep
    before = peak = anonymous_memory()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, anonymous_memory())

    watching = threading.Thread(target=watch)
    watching.start()
    model = load_model(str(folder / "large"), device="cpu", dtype=dtype)
    done.set()
    watching.join()
    (folder / dtype).write_text(json.dumps([peak - before, model.fingerprint, model.num_parameters]))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read off /proc")
@pytest.mark.parametrize(("dtype", "share"), [("nf4", 0.35), ("int8", 0.45)])
def test_loading_needs_little_more_memory_than_the_quantized_weights(tmp_path: Path, dtype: str, share: float) -> None:
    """This includes files in another precision than the configuration's, which cannot be mapped."""
    folder_of("llama", tmp_path)
    config = LlamaConfig(**{**SIZE, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 16})
    network = AutoModelForCausalLM.from_config(config)
    network.save_pretrained(tmp_path / "large")
    config = LlamaConfig.from_pretrained(tmp_path / "large")
    config.dtype = torch.bfloat16
    config.save_pretrained(tmp_path / "large")
    shared_model("llama").tokenizer.save_pretrained(tmp_path / "large")
    plain = load_model(str(tmp_path / "large"), device="cpu")
    assert exit_code(load_and_watch, tmp_path, dtype) == 0
    grown, fingerprint, num_parameters = json.loads((tmp_path / dtype).read_text())
    assert (fingerprint, num_parameters) == (plain.fingerprint, plain.num_parameters)
    assert grown < share * 4 * num_parameters


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_model_with_pickled_weights_is_loaded_to_compute_its_fingerprint(family: str, tmp_path: Path) -> None:
    """The fingerprint of pickled weights, for example, needs the loaded model."""
    folder = folder_of(family, tmp_path)
    plain = load_model(str(folder), device="cpu")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model = load_model(str(folder), device="cpu", dtype="nf4")
    assert (model.fingerprint, model.num_parameters) == (plain.fingerprint, plain.num_parameters)


def test_missing_bitsandbytes_raises_setting_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of("llama", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"int8 needs bitsandbytes: pip install"):
        load_model(str(folder), dtype="int8")


@pytest.mark.real
def test_a_gguf_file_is_loaded_as_a_base_model(smollm2: object) -> None:
    """The bundled model's file is read like a GGUF file of a user."""
    from softprompt.model.bundled_models import BUNDLED_MODELS, _find_bundled_gguf

    path = _find_bundled_gguf("smollm2-135m", BUNDLED_MODELS["smollm2-135m"])
    model = load_model(str(path), device="cpu")
    assert model.fingerprint == smollm2.fingerprint  # type: ignore[attr-defined]
    assert model.name == str(path)
