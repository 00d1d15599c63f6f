"""Rows 1, 4 and 10 of the table in docs/peft.md for peft's CARTRIDGE adapters: peft's fault, and the imported prompt.

Each test shows first that peft still has the fault. If one of these assertions fails, peft has repaired it.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import CartridgeConfig, PeftModel, get_peft_model
from torch import Tensor

import softprompt
from softprompt.hf_model import SoftPromptModel
from softprompt.prompts import PromptOptions
from softprompt.saved import SavedPrompt, read_peft_adapter
from softprompt.tasks import GenerationTask
from tests.strategies import laid_out
from tests.tiny import FAMILIES, shared_model, tiny_model

LONG, SHORT = [5, 9, 77, 300, 12, 44], [31, 8]
#: Families for which peft makes a cartridge: it has too many heads for a Falcon with one key/value head.
PEFT_FAMILIES = [family for family in FAMILIES if family != "falcon"]
#: Families that receive positions from peft; the others derive them from the mask.
WITH_POSITIONS = [family for family in PEFT_FAMILIES if family not in ("bloom", "opt", "falcon-alibi")]


def make_config() -> CartridgeConfig:
    """Make a configuration, which peft completes for one model and changes."""
    return CartridgeConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)


def make_cartridges(family: str, *names: str) -> PeftModel:
    """Make a model with random cartridges in peft; the first one is active."""
    torch.manual_seed(0)
    cartridges = get_peft_model(copy.deepcopy(shared_model(family).network), make_config(), names[0])
    for name in names[1:]:
        cartridges.add_adapter(name, make_config())
    return cartridges.eval()


def import_cartridges(cartridges: PeftModel, family: str, folder: Path) -> dict[str, SavedPrompt]:
    """Save cartridges with peft and import them, by name."""
    cartridges.save_pretrained(str(folder), selected_adapters=list(cartridges.peft_config))
    model = shared_model(family)
    return {
        name: SavedPrompt.from_payload(
            model,
            read_peft_adapter(folder / name, model.shape),
            GenerationTask(),
            method={"name": "peft CARTRIDGE"},
            trained_parameters=1,
        )
        for name in cartridges.peft_config
    }


def with_prompts(family: str, prompts: dict[str, SavedPrompt]) -> SoftPromptModel:
    model = SoftPromptModel(shared_model(family))
    for name, prompt in prompts.items():
        model.add_prompt(name, prompt)
    return model


def peft_logits(cartridges: PeftModel, ids: Tensor, mask: Tensor | None = None, **options: object) -> Tensor:
    mask = torch.ones_like(ids) if mask is None else mask.long()
    found: Tensor = cartridges(input_ids=ids, attention_mask=mask, **options).logits
    return found


@pytest.mark.parametrize("family", WITH_POSITIONS)
@torch.no_grad()
def test_row_1_left_padding_changes_the_logits_of_a_cartridge_only_in_peft(family: str, tmp_path: Path) -> None:
    cartridges = make_cartridges(family, "one")
    model = with_prompts(family, import_cartridges(cartridges, family, tmp_path))
    alone = peft_logits(cartridges, torch.tensor([SHORT]))[0]
    ids, mask = laid_out([LONG, SHORT], "left")
    assert (peft_logits(cartridges, ids, mask)[1, -len(SHORT) :] - alone).abs().max() > 0.1
    torch.testing.assert_close(
        model(ids, attention_mask=mask.long()).logits[1, -len(SHORT) :], alone, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("family", PEFT_FAMILIES)
@torch.no_grad()
def test_row_4_sequences_of_a_batch_have_their_own_cartridges_only_outside_peft(family: str, tmp_path: Path) -> None:
    cartridges = make_cartridges(family, "one", "two")
    model = with_prompts(family, import_cartridges(cartridges, family, tmp_path))
    ids, alone = torch.tensor([LONG, LONG]), {}
    for name in ("two", "one"):
        cartridges.set_adapter(name)
        alone[name] = peft_logits(cartridges, ids[:1])[0]
    assert (alone["one"] - alone["two"]).abs().max() > 0.1
    for names in (["one", "two"], ["no", "such"]):
        for row in peft_logits(cartridges, ids, adapter_names=names):  # all of them get the active one
            torch.testing.assert_close(row, alone["one"], atol=1e-4, rtol=0)
    for name, row in zip(("one", "two"), model(ids, prompts=["one", "two"]).logits, strict=True):
        torch.testing.assert_close(row, alone[name], atol=1e-4, rtol=0)
    with pytest.raises(softprompt.SoftPromptError, match="no"):
        model(ids, prompts=["no", "such"])


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
@pytest.mark.parametrize("family", PEFT_FAMILIES)
def test_row_10_gradient_checkpointing_of_a_cartridge_fails_only_in_peft(family: str, tmp_path: Path) -> None:
    ids = torch.tensor([LONG])
    cartridges = make_cartridges(family, "one")
    import_cartridges(cartridges, family, tmp_path)["one"].save_to(tmp_path / "prompt")
    cartridges.train().gradient_checkpointing_enable()
    with pytest.raises(RuntimeError, match="size of (the )?tensor"):
        peft_logits(cartridges, ids, labels=ids)
    with pytest.raises(ValueError, match="does not work with gradient checkpointing"):
        get_peft_model(cartridges.get_base_model(), make_config())
    gradients = []
    for is_checkpointed in (False, True):
        options = PromptOptions("prefix", 4, init=f"prompt:{tmp_path / 'prompt'}")
        model = SoftPromptModel.from_model(tiny_model(family), options)
        if is_checkpointed:
            model.gradient_checkpointing_enable()
        model(ids, labels=ids).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert gradients[0][0].abs().max() > 1e-4
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-5, rtol=1e-4)
