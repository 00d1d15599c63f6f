"""Devices, precisions, and bases whose weights are quantised."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, LlamaConfig

import softprompt
from softprompt.errors import SettingError
from softprompt.model import load_model
from softprompt.saved import SavedPrompt
from tests.tiny import shared_model, template_for

SIZE: dict[str, Any] = {
    "vocab_size": 384,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def folder_of(family: str, tmp_path: Path) -> Path:
    """A model as wide as 4-bit kernels want it."""
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


@pytest.mark.filterwarnings("ignore")  # bitsandbytes warns of what its CPU kernels cannot do fast
@pytest.mark.parametrize("dtype", ["int8", "nf4"])
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_prompt_is_trained_through_quantised_weights(
    family: str, dtype: str, reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(family, tmp_path)
    model = load_model(str(folder), device="cpu", dtype=dtype)
    plain = load_model(str(folder), device="cpu")
    assert (model.precision, plain.precision) == (dtype, "float32")
    assert (model.fingerprint, model.num_parameters) == (plain.fingerprint, plain.num_parameters)
    ids = torch.tensor([[0, 9, 10, 11]])
    with torch.no_grad():
        rounded, exact = (m.logits(m.hidden(ids, ids >= 0)) for m in (model, plain))
    assert 1e-4 < (rounded - exact).abs().mean() < 0.3 * exact.abs().mean()
    steps = {"data": reviews, "validation": reviews, "output": tmp_path / "p", "virtual_tokens": 3, "batch_size": 8}
    tuned = softprompt.tune(
        model, **steps, template=template_for(family), method="prompt", steps=20, learning_rate=0.05
    )
    assert tuned.prompt is not None
    assert tuned.prompt.payload.tensor.dtype == torch.float32
    saved = SavedPrompt.read(tmp_path / "p")
    assert saved.manifest.base.dtype == dtype
    before = softprompt.evaluate(model, saved, softprompt_examples(reviews))
    assert before["loss"] < before["hard_prompt"]["loss"]
    with caplog.at_level(logging.WARNING, logger="softprompt.saved"):
        saved.bound(plain)
    assert f"trained in {dtype} and is used in float32" in caplog.text


def softprompt_examples(path: Path) -> object:
    from softprompt.data import read_examples

    return read_examples(path)


def test_without_bitsandbytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of("llama", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"int8 needs bitsandbytes: pip install"):
        load_model(str(folder), dtype="int8")


@pytest.mark.real
def test_a_gguf_file_is_a_base(smollm2: object) -> None:
    """The embedded model's own file, read as a user's would be."""
    from softprompt.model.embedded import EMBEDDED, _locate

    path = _locate("smollm2-135m", EMBEDDED["smollm2-135m"])
    model = load_model(str(path), device="cpu")
    assert model.fingerprint == smollm2.fingerprint  # type: ignore[attr-defined]
    assert model.name == str(path)
