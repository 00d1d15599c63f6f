"""Import of peft adapters that other programs wrote, and the rejection of damaged and unsuitable ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from peft import CPTConfig, MultitaskPromptTuningConfig, PeftConfig, get_peft_model
from torch import Tensor

from softprompt.errors import CorruptPrompt, NotASavedPrompt
from softprompt.saved import read_peft_adapter
from softprompt.saved.peft_adapter_reader import read_adapter_config
from softprompt.saved.peft_format import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, from_peft_layout
from softprompt.saved.tensor_files import serialize_tensors
from tests.saved.factories import SHAPE, numbered
from tests.tiny import shared_model


def lay(folder: Path, config: object, tensors: dict[str, Tensor] | None = None) -> Path:
    (folder / ADAPTER_CONFIG_FILE).write_text(config if isinstance(config, str) else json.dumps(config))
    if tensors is not None:
        (folder / ADAPTER_WEIGHTS_FILE).write_bytes(serialize_tensors(tensors))
    return folder


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
        ("CARTRIDGE", (4, 59), 60),
        ("CARTRIDGE", (4, 3, 20), 60),
        ("CARTRIDGE", (0, 60), 60),
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


#: What peft writes for `SHAPE` and four virtual tokens, of which one is frozen.
CARTRIDGE = {
    "peft_type": "CARTRIDGE", "num_layers": 3, "num_attention_heads": 2, "token_dim": 10, "num_virtual_tokens": 4,
    "num_frozen_tokens": 1,
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"num_frozen_tokens": 0}, {"num_frozen_tokens": 4}, {"token_dim": None}])
def test_a_cartridge_is_read_with_all_its_virtual_tokens(tmp_path: Path, changes: dict[str, object]) -> None:
    """The file holds the frozen virtual tokens too, before the others."""
    lay(tmp_path, {**CARTRIDGE, **changes}, {"prompt_embeddings": numbered(4, 60)})
    assert torch.equal(read_peft_adapter(tmp_path, SHAPE).tensor, from_peft_layout(numbered(4, 60), SHAPE))


def test_a_cartridge_without_its_token_counts_is_read(tmp_path: Path) -> None:
    lay(tmp_path, {"peft_type": "CARTRIDGE"}, {"prompt_embeddings": numbered(4, 60)})
    assert read_peft_adapter(tmp_path, SHAPE).num_virtual_tokens == 4


@pytest.mark.parametrize("number", [-1, 5, 1.0, "1", None, True, [1]])
def test_a_cartridge_with_an_invalid_number_of_frozen_tokens_is_rejected(tmp_path: Path, number: object) -> None:
    lay(tmp_path, {**CARTRIDGE, "num_frozen_tokens": number}, {"prompt_embeddings": numbered(4, 60)})
    with pytest.raises(
        CorruptPrompt, match="but must be an integer from 0 to 4, the number of virtual tokens"
    ) as caught:
        read_peft_adapter(tmp_path, SHAPE)
    assert f"num_frozen_tokens is {number!r}" in str(caught.value)


@pytest.mark.parametrize("number", [3, 5, "4", None])
def test_a_cartridge_that_holds_another_number_of_virtual_tokens_is_rejected(tmp_path: Path, number: object) -> None:
    lay(tmp_path, {**CARTRIDGE, "num_virtual_tokens": number}, {"prompt_embeddings": numbered(4, 60)})
    with pytest.raises(CorruptPrompt, match=rf"is {number!r}, but {ADAPTER_WEIGHTS_FILE} holds 4"):
        read_peft_adapter(tmp_path, SHAPE)


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "CARTRIDGE"])
@pytest.mark.parametrize(
    ("name", "number", "expected"), [("num_layers", 6, 3), ("num_attention_heads", 5, 2), ("token_dim", 20, 10)]
)
def test_a_prefix_for_a_model_of_other_layers_or_heads_is_rejected(
    tmp_path: Path, kind: str, name: str, number: int, expected: int
) -> None:
    """6 layers of 1 head have the width of 3 layers of 2, and would be read as noise."""
    lay(tmp_path, {**CARTRIDGE, "peft_type": kind, name: number}, {"prompt_embeddings": numbered(4, 60)})
    with pytest.raises(CorruptPrompt, match=f"{name} is {number}, but this model needs {expected}"):
        read_peft_adapter(tmp_path, SHAPE)


@pytest.mark.parametrize("content", [None, b"", b"\0" * 64])
def test_a_cartridge_without_readable_tensors_is_rejected(tmp_path: Path, content: bytes | None) -> None:
    lay(tmp_path, CARTRIDGE)
    if content is not None:
        (tmp_path / ADAPTER_WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(CorruptPrompt, match=rf"{ADAPTER_WEIGHTS_FILE} (cannot be read|is not a valid)"):
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
