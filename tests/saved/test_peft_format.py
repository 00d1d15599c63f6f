"""Adapter folders of peft: their layout byte by byte, and the import of adapters from other programs."""

from __future__ import annotations

import copy
import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import CPTConfig, MultitaskPromptTuningConfig, PeftConfig, get_peft_model
from torch import Tensor

from softprompt.errors import CorruptPrompt, NotASavedPrompt, PeftExportError
from softprompt.model import KVPrefix, ModelKind, ModelShape, Placement, PromptEmbeddings
from softprompt.saved import read_peft_adapter, serialize_peft_adapter
from softprompt.saved.peft_format import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_WEIGHTS_FILE,
    from_peft_layout,
    read_adapter_config,
    to_peft_layout,
)
from softprompt.saved.tensor_files import serialize_tensors
from tests.tiny import shared_model

SHAPE = ModelShape(
    kind=ModelKind.CAUSAL,
    num_layers=3,
    num_kv_heads=2,
    head_dim=5,
    hidden_size=20,
    embedding_size=20,
    vocab_size=100,
    window=64,
)


def numbered(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


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


def lay(folder: Path, config: object, tensors: dict[str, Tensor] | None = None) -> Path:
    (folder / ADAPTER_CONFIG_FILE).write_text(config if isinstance(config, str) else json.dumps(config))
    if tensors is not None:
        (folder / ADAPTER_WEIGHTS_FILE).write_bytes(serialize_tensors(tensors))
    return folder


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


@pytest.mark.parametrize("payload", [PromptEmbeddings(numbered(4, 20)), KVPrefix(numbered(3, 2, 2, 4, 5))])
def test_an_exported_adapter_is_read_unchanged(tmp_path: Path, payload: PromptEmbeddings | KVPrefix) -> None:
    for name, content in serialize_peft_adapter(payload, SHAPE, "base").items():
        (tmp_path / name).write_bytes(content)
    found = read_peft_adapter(tmp_path, SHAPE)
    assert type(found) is type(payload)
    assert torch.equal(found.tensor, payload.tensor)


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
    with pytest.raises(PeftExportError, match=f"peft cannot express {reason}"):
        serialize_peft_adapter(payload, SHAPE, "base", has_head)


@pytest.mark.parametrize("kind", ["LORA", "IA3", "ADAPTION_PROMPT", None])
def test_the_error_of_an_adapter_of_another_type_names_the_type(tmp_path: Path, kind: str | None) -> None:
    lay(tmp_path, {"peft_type": kind}, {"prompt_embeddings": numbered(4, 20)})
    with pytest.raises(NotASavedPrompt, match=f"a peft adapter of type {kind}, which is not a soft prompt"):
        read_peft_adapter(tmp_path, SHAPE)


def test_a_folder_without_an_adapter_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(NotASavedPrompt, match="is not a peft adapter"):
        read_peft_adapter(tmp_path, SHAPE)


@pytest.mark.parametrize("text", ["{", "", "[]", "null", "[" * 100_000])
def test_a_corrupt_configuration_is_rejected(tmp_path: Path, text: str) -> None:
    with pytest.raises(CorruptPrompt, match=r"adapter_config\.json is damaged"):
        read_adapter_config(lay(tmp_path, text))


@pytest.mark.parametrize(
    ("kind", "shape", "width"),
    [
        ("PROMPT_TUNING", (4, 21), 20),
        ("P_TUNING", (4, 60), 20),
        ("PREFIX_TUNING", (4, 20), 60),
        ("PREFIX_TUNING", (4, 59), 60),
        ("PROMPT_TUNING", (0, 20), 20),
        ("PROMPT_TUNING", (80,), 20),
    ],
)
def test_an_adapter_whose_shape_does_not_match_the_model_is_rejected(
    tmp_path: Path, kind: str, shape: tuple[int, ...], width: int
) -> None:
    lay(tmp_path, {"peft_type": kind}, {"prompt_embeddings": numbered(*shape)})
    with pytest.raises(CorruptPrompt, match=rf"this model needs \[P, {width}\]"):
        read_peft_adapter(tmp_path, SHAPE)


def test_an_adapter_without_its_tensors_is_rejected(tmp_path: Path) -> None:
    lay(tmp_path, {"peft_type": "PROMPT_TUNING"})
    with pytest.raises(CorruptPrompt, match=rf"{ADAPTER_WEIGHTS_FILE} cannot be read"):
        read_peft_adapter(tmp_path, SHAPE)
    lay(tmp_path, {"peft_type": "PROMPT_TUNING"}, {"base_model.model.lora_A": numbered(4, 20)})
    with pytest.raises(CorruptPrompt, match="has no 'prompt_embeddings'"):
        read_peft_adapter(tmp_path, SHAPE)


def test_an_adapter_with_non_finite_numbers_is_rejected(tmp_path: Path) -> None:
    lay(tmp_path, {"peft_type": "P_TUNING"}, {"prompt_embeddings": numbered(4, 20) / 0})
    with pytest.raises(CorruptPrompt, match="contains NaN or infinite values"):
        read_peft_adapter(tmp_path, SHAPE)


def adapted(network: torch.nn.Module, config: PeftConfig) -> torch.nn.Module:
    """Train a model with a peft adapter for two steps."""
    torch.manual_seed(1)
    wrapped = get_peft_model(copy.deepcopy(network), config)
    optimiser = torch.optim.Adam([p for p in wrapped.parameters() if p.requires_grad], lr=0.1)
    ids = torch.tensor([[5, 9, 77, 300, 12]])
    for _ in range(2):
        optimiser.zero_grad()
        wrapped(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
        optimiser.step()
    return wrapped.eval()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@torch.no_grad()
def test_a_cpt_adapter_of_peft_is_imported(family: str, tmp_path: Path) -> None:
    """Its file holds the context's embeddings plus their update, which is projected already."""
    model = shared_model(family)
    config = CPTConfig(
        task_type="CAUSAL_LM", cpt_token_ids=[31, 8, 44, 7, 60], cpt_tokens_type_mask=[1, 2, 2, 3, 4],
        opt_weighted_loss_type="decay", opt_loss_decay_factor=0.95, opt_projection_epsilon=5.0,
        opt_projection_format_epsilon=5.0,
    )  # fmt: skip
    with torch.enable_grad():
        wrapped = adapted(model.network, config)
    wrapped.save_pretrained(str(tmp_path))
    payload = read_peft_adapter(tmp_path, model.shape)
    words = model.embed_tokens(torch.tensor([config.cpt_token_ids]))[0]
    assert torch.equal(payload.tensor[4], words[4])
    assert ((payload.tensor - words)[:4].norm(dim=1) > 1e-2).all()
    ids = torch.tensor([[5, 9, 77, 300, 12]])
    theirs = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -5:]
    behind = model.compile_payload(payload)
    ours = model.compute_logits(model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool), behind))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_multitask_adapter_of_peft_is_imported(tmp_path: Path) -> None:
    model = shared_model("llama")
    config = MultitaskPromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, num_tasks=3, num_ranks=2)
    torch.manual_seed(3)
    wrapped = get_peft_model(copy.deepcopy(model.network), config).eval()
    wrapped.save_pretrained(str(tmp_path))
    ids = torch.tensor([[5, 9, 77, 300, 12]])
    found = []
    for task in range(3):
        theirs = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids), task_ids=torch.tensor([task])).logits
        behind = model.compile_payload(read_peft_adapter(tmp_path, model.shape, task))
        found.append(
            model.compute_logits(model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool), behind))
        )
        torch.testing.assert_close(found[-1], theirs[:, -5:], atol=1e-4, rtol=0)
    assert not torch.allclose(found[0], found[1], atol=1e-6)
    for wrong in (None, 3, -1):
        with pytest.raises(NotASavedPrompt, match="has 3 tasks: choose one with `task`, from 0 to 2"):
            read_peft_adapter(tmp_path, model.shape, wrong)


def test_choosing_a_task_of_a_single_task_adapter_is_rejected(tmp_path: Path) -> None:
    lay(tmp_path, {"peft_type": "PROMPT_TUNING"}, {"prompt_embeddings": numbered(4, 20)})
    with pytest.raises(NotASavedPrompt, match="has a single task"):
        read_peft_adapter(tmp_path, SHAPE, 0)


def test_an_adapter_whose_task_factors_have_wrong_shapes_is_rejected(tmp_path: Path) -> None:
    factors = {"prefix_task_cols": numbered(2, 5, 1), "prefix_task_rows": numbered(2, 1, 20)}
    lay(tmp_path, {"peft_type": "MULTITASK_PROMPT_TUNING"}, {"prompt_embeddings": numbered(4, 20), **factors})
    with pytest.raises(CorruptPrompt, match="factors"):
        read_peft_adapter(tmp_path, SHAPE, 0)
