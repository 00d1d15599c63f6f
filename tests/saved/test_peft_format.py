"""Adapter folders of peft: their layout byte by byte, and what peft cannot express."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.errors import PeftExportError
from softprompt.model import KVPrefix, ModelKind, ModelShape, Placement, PromptEmbeddings
from softprompt.saved import read_peft_adapter, serialize_cartridge_adapter, serialize_peft_adapter
from softprompt.saved.peft_format import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_CONFIG_KEYS,
    ADAPTER_WEIGHTS_FILE,
    from_peft_layout,
    to_peft_layout,
)
from tests.saved.factories import SHAPE, numbered


def parsed(content: bytes) -> dict[str, tuple[list[int], list[float]]]:
    """Parse a safetensors file by hand: 8 bytes of length, a JSON header, the numbers."""
    [length] = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    found = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        assert entry["dtype"] == "F32"
        found[name] = (entry["shape"], list(struct.unpack(f"<{(end - start) // 4}f", data[start:end])))
    return found


def test_a_prefix_is_exported_with_the_keys_then_the_values_of_each_layer() -> None:
    """`L0.K, L0.V, L1.K, …`, each `(G, D)`, in one vector per virtual token."""
    L, G, P, D = 3, 2, 4, 5
    prefix = numbered(L, 2, G, P, D)
    files = serialize_peft_adapter(KVPrefix(prefix), SHAPE, "base")
    expected = [
        prefix[layer, kind, head, token, i].item()
        for token in range(P)
        for layer in range(L)
        for kind in (0, 1)
        for head in range(G)
        for i in range(D)
    ]
    assert parsed(files[ADAPTER_WEIGHTS_FILE]) == {"prompt_embeddings": ([P, 2 * L * G * D], expected)}


def test_a_prefix_is_split_into_layers_as_peft_splits_it() -> None:
    L, G, P, D = 3, 2, 4, 5
    rows = numbered(P, 2 * L * G * D)
    theirs = rows.unsqueeze(0).view(1, P, 2 * L, G, D).permute(2, 0, 3, 1, 4).split(2)
    ours = from_peft_layout(rows, SHAPE)
    for layer, (keys, values) in enumerate(theirs):
        assert torch.equal(ours[layer, 0], keys[0])
        assert torch.equal(ours[layer, 1], values[0])


@given(L=st.integers(1, 4), G=st.integers(1, 3), P=st.integers(1, 5), D=st.integers(1, 4))
def test_converting_a_prefix_to_pefts_layout_and_back_returns_it(L: int, G: int, P: int, D: int) -> None:
    shape = ModelShape(ModelKind.CAUSAL, L, G, D, G * D, G * D, vocab_size=9, window=9)
    prefix = numbered(L, 2, G, P, D)
    assert torch.equal(from_peft_layout(to_peft_layout(prefix), shape), prefix)


def test_embeddings_are_exported_as_one_vector_per_virtual_token() -> None:
    files = serialize_peft_adapter(PromptEmbeddings(numbered(4, 20)), SHAPE, "base")
    assert parsed(files[ADAPTER_WEIGHTS_FILE]) == {"prompt_embeddings": ([4, 20], [float(i) for i in range(80)])}


def test_embeddings_are_exported_with_a_prompt_tuning_configuration() -> None:
    config = json.loads(
        serialize_peft_adapter(PromptEmbeddings(numbered(4, 20)), SHAPE, "some/base")[ADAPTER_CONFIG_FILE]
    )
    assert config["peft_type"] == "PROMPT_TUNING"
    assert config["task_type"] == "CAUSAL_LM"
    assert config["base_model_name_or_path"] == "some/base"
    assert (config["num_virtual_tokens"], config["token_dim"], config["num_layers"]) == (4, 20, 3)
    assert config["num_transformer_submodules"] == 1


def test_a_prefix_is_exported_with_a_prefix_tuning_configuration() -> None:
    config = json.loads(
        serialize_peft_adapter(KVPrefix(numbered(3, 2, 2, 4, 5)), SHAPE, "some/base")[ADAPTER_CONFIG_FILE]
    )
    assert config["peft_type"] == "PREFIX_TUNING"
    assert config["prefix_projection"] is False
    assert (config["token_dim"], config["num_attention_heads"]) == (2 * 5, 2)


def test_a_cartridge_has_the_tensors_of_prefix_tuning_under_another_configuration() -> None:
    prefix = KVPrefix(numbered(3, 2, 2, 4, 5))
    cartridge = serialize_cartridge_adapter(prefix, SHAPE, "some/base")
    prefix_tuning = serialize_peft_adapter(prefix, SHAPE, "some/base")
    assert cartridge[ADAPTER_WEIGHTS_FILE] == prefix_tuning[ADAPTER_WEIGHTS_FILE]
    config, other = (json.loads(files[ADAPTER_CONFIG_FILE]) for files in (cartridge, prefix_tuning))
    assert (config.pop("peft_type"), other.pop("peft_type")) == ("CARTRIDGE", "PREFIX_TUNING")
    assert config.pop("num_frozen_tokens") == 1
    assert other.pop("prefix_projection") is False
    del other["encoder_hidden_size"]
    assert config == other


def test_embeddings_are_not_exported_as_a_cartridge() -> None:
    with pytest.raises(PeftExportError, match="holds keys and values, and this prompt holds embeddings"):
        serialize_cartridge_adapter(PromptEmbeddings(numbered(4, 20)), SHAPE, "base")


@pytest.mark.parametrize("payload", [PromptEmbeddings(numbered(4, 20)), KVPrefix(numbered(3, 2, 2, 4, 5))])
def test_every_written_configuration_has_the_keys_of_its_type(payload: PromptEmbeddings | KVPrefix) -> None:
    """`foreign_files` recognizes the project's own configurations by these keys."""
    writers = [serialize_peft_adapter, *([serialize_cartridge_adapter] if isinstance(payload, KVPrefix) else [])]
    for serialize in writers:
        config = json.loads(serialize(payload, SHAPE, "base")[ADAPTER_CONFIG_FILE])
        assert set(config) == set(ADAPTER_CONFIG_KEYS[config["peft_type"]])


@pytest.mark.parametrize("payload", [PromptEmbeddings(numbered(4, 20)), KVPrefix(numbered(3, 2, 2, 4, 5))])
def test_an_exported_adapter_is_read_unchanged(tmp_path: Path, payload: PromptEmbeddings | KVPrefix) -> None:
    for name, content in serialize_peft_adapter(payload, SHAPE, "base").items():
        (tmp_path / name).write_bytes(content)
    found = read_peft_adapter(tmp_path, SHAPE)
    assert type(found) is type(payload)
    assert torch.equal(found.tensor, payload.tensor)


@pytest.mark.parametrize("num_virtual_tokens", [1, 4])
def test_an_exported_cartridge_is_read_unchanged(tmp_path: Path, num_virtual_tokens: int) -> None:
    prefix = KVPrefix(numbered(3, 2, 2, num_virtual_tokens, 5))
    for name, content in serialize_cartridge_adapter(prefix, SHAPE, "base").items():
        (tmp_path / name).write_bytes(content)
    assert torch.equal(read_peft_adapter(tmp_path, SHAPE).tensor, prefix.tensor)


@pytest.mark.parametrize(
    ("payload", "has_head", "reason"),
    [
        (PromptEmbeddings(numbered(4, 20), Placement.AFTER_BOS), False, "virtual tokens after-bos"),
        (PromptEmbeddings(numbered(4, 20), Placement.AFTER_TEXT), False, "virtual tokens after-text"),
        (KVPrefix(numbered(3, 2, 2, 4, 5), Placement.AFTER_BOS, has_bos=True), False, "virtual tokens after-bos"),
        (PromptEmbeddings(numbered(4, 20)), True, "the trained linear head"),
    ],
)
def test_exporting_prompts_that_peft_cannot_express_is_rejected(
    payload: PromptEmbeddings | KVPrefix, has_head: bool, reason: str
) -> None:
    for serialize in (serialize_peft_adapter, serialize_cartridge_adapter):
        with pytest.raises(PeftExportError, match=f"peft cannot express {reason}"):
            serialize(payload, SHAPE, "base", has_head)
