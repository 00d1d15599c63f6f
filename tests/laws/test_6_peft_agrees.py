"""Law 6: prompts give the same logits in peft after export, and here after import of prompts that peft trained."""

from __future__ import annotations

import copy
import warnings
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from peft import (
    CartridgeConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file
from torch import Tensor

from softprompt.errors import NotASavedPrompt
from softprompt.model import EncoderDecoderModel, FrozenModel, Payload
from softprompt.model.prompt_tokenizer import DECODER_START
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.saved import SavedPrompt, read_peft_adapter, serialize_cartridge_adapter
from softprompt.tasks import GenerationTask
from tests.laws.few import fewest
from tests.strategies import METHODS, METHODS_ON_FAMILIES, lengths, options, random_prefix, seeds
from tests.tiny import ENCODER_DECODER_FAMILIES, FAMILIES, MASKED_FAMILIES, shared_model

TEXT = [[5, 9, 77, 300, 12]]
SAID = [31, 8]  # the decoder's tokens after its start token

#: Families whose prefixes peft cannot express; the tests of refusals below say why.
NO_PREFIXES = ("distilbert", "albert", *ENCODER_DECODER_FAMILIES)
EXPRESSIBLE = [
    (family, method, encoder)
    for family, method, encoder in METHODS_ON_FAMILIES
    if family not in NO_PREFIXES or method not in ("prefix", "p-tuning-v2")
]


@torch.no_grad()
def ours(model: FrozenModel, payload: Payload) -> Tensor:
    compiled = model.compile_payload(payload)
    said = [DECODER_START, *SAID] if isinstance(model, EncoderDecoderModel) else []
    ids = torch.tensor([[*compiled.apply_to_prompt(row), *said] for row in TEXT])
    logits = model.compute_logits(model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool), compiled))
    return logits[:, -len(said or TEXT[0]) :]


@torch.no_grad()
def theirs(wrapped: torch.nn.Module) -> Tensor:
    """Compute peft's logits at the text's or the decoder's tokens; some methods also return virtual positions."""
    ids = torch.tensor(TEXT)
    if wrapped.config.is_encoder_decoder:
        said = torch.tensor([[wrapped.config.decoder_start_token_id, *SAID]])
        found: Tensor = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=said).logits
        return found
    logits: Tensor = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits[:, -ids.shape[1] :]


def exported(model: FrozenModel, given: PromptOptions) -> None:
    prompt, _ = build_prompt(given, model, "a film")
    with torch.no_grad():
        for parameter in prompt.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    saved = SavedPrompt.from_payload(
        model, prompt(), GenerationTask(), method={"name": given.method}, trained_parameters=1
    )
    assert saved.peft_incompatibility is None
    with TemporaryDirectory() as folder:
        saved.save_to(Path(folder) / "p")
        wrapped = PeftModel.from_pretrained(copy.deepcopy(model.network), str(Path(folder) / "p")).eval()
    found = theirs(wrapped)
    torch.testing.assert_close(found, ours(model, saved.payload), atol=1e-4, rtol=0)
    assert (theirs(model.network) - found).abs().max() > 1e-2  # the prompt has an effect


@pytest.mark.parametrize(("family", "method", "encoder"), EXPRESSIBLE)
@given(P=lengths, seed=seeds)
@fewest
def test_a_prompt_exported_to_peft_gives_the_same_logits_in_peft(
    family: str, method: str, encoder: str, P: int, seed: int
) -> None:
    torch.manual_seed(seed)
    exported(shared_model(family), options(method, P, encoder=encoder, head="verbalizer", seed=seed))


@pytest.mark.parametrize("family", MASKED_FAMILIES)
def test_prefixes_that_peft_would_ignore_are_marked_as_incompatible(family: str) -> None:
    """DistilBERT and ALBERT accept no cache, so peft's prefix is silently lost there."""
    model = shared_model(family)
    prefix = random_prefix(model, 3, seed=0)
    saved = SavedPrompt.from_payload(model, prefix, GenerationTask(), method={"name": "prefix"}, trained_parameters=1)
    config = PrefixTuningConfig(
        task_type="FEATURE_EXTRACTION", num_virtual_tokens=3, token_dim=24, num_attention_heads=4, num_layers=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(copy.deepcopy(model.network), config).eval()
    with torch.no_grad():
        wrapped.prompt_encoder["default"].embedding.weight.normal_()
    is_ignored = torch.allclose(theirs(wrapped), theirs(model.network), atol=1e-4)
    assert (saved.peft_incompatibility is not None) == is_ignored == (family in NO_PREFIXES)


CONFIGS = {
    "prompt tuning": lambda task, P: PromptTuningConfig(task_type=task, num_virtual_tokens=P),
    "P-tuning, MLP": lambda task, P: PromptEncoderConfig(task_type=task, num_virtual_tokens=P, encoder_hidden_size=16),
    "P-tuning, LSTM": lambda task, P: PromptEncoderConfig(
        task_type=task, num_virtual_tokens=P, encoder_hidden_size=16, encoder_reparameterization_type="LSTM"
    ),
    "prefix": lambda task, P: PrefixTuningConfig(task_type=task, num_virtual_tokens=P),
    "prefix, projected": lambda task, P: PrefixTuningConfig(
        task_type=task, num_virtual_tokens=P, prefix_projection=True, encoder_hidden_size=16
    ),
    "cartridge": lambda task, P: CartridgeConfig(task_type=task, num_virtual_tokens=P),
    "cartridge, unfrozen": lambda task, P: CartridgeConfig(task_type=task, num_virtual_tokens=P, num_frozen_tokens=0),
}
PREFIXES = tuple(name for name in CONFIGS if name.startswith(("prefix", "cartridge")))


#: What peft itself cannot train: it gives a model of one key/value head a prefix with a head for each query's.
PEFT_CANNOT = [(name, "falcon") for name in PREFIXES]


@pytest.mark.parametrize(("name", "family"), [pair for pair in product(CONFIGS, FAMILIES) if pair not in PEFT_CANNOT])
def test_a_prompt_trained_by_peft_gives_the_same_logits_after_import(name: str, family: str, tmp_path: Path) -> None:
    model = shared_model(family)
    wrapped = trained_by_peft(model, CONFIGS[name]("CAUSAL_LM", 4))
    wrapped.save_pretrained(str(tmp_path))
    payload = read_peft_adapter(tmp_path, model.shape)
    torch.testing.assert_close(ours(model, payload), theirs(wrapped), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ENCODER_DECODER_FAMILIES)
@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in PREFIXES])
def test_a_prompt_trained_by_peft_on_an_encoder_decoder_gives_the_same_logits_after_import(
    name: str, family: str, tmp_path: Path
) -> None:
    """Its file holds twice the virtual tokens, of which peft never uses the second half."""
    model = shared_model(family)
    wrapped = trained_by_peft(model, CONFIGS[name]("SEQ_2_SEQ_LM", 4))
    wrapped.save_pretrained(str(tmp_path))
    assert load_file(tmp_path / "adapter_model.safetensors")["prompt_embeddings"].shape[0] == 8
    payload = read_peft_adapter(tmp_path, model.shape)
    assert payload.num_virtual_tokens == 4
    torch.testing.assert_close(ours(model, payload), theirs(wrapped), atol=1e-4, rtol=0)


def cartridge_round_trip(model: FrozenModel, folder: Path) -> None:
    """Import a cartridge that peft trained, export it, and load the export in peft: the same numbers each time."""
    wrapped = trained_by_peft(model, CartridgeConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    wrapped.save_pretrained(str(folder / "peft"))
    payload = read_peft_adapter(folder / "peft", model.shape)
    torch.testing.assert_close(ours(model, payload), theirs(wrapped), atol=1e-4, rtol=0)
    (folder / "again").mkdir()
    for name, content in serialize_cartridge_adapter(payload, model.shape, model.name).items():
        (folder / "again" / name).write_bytes(content)
    weights = [load_file(folder / name / "adapter_model.safetensors") for name in ("peft", "again")]
    assert torch.equal(*(tensors["prompt_embeddings"] for tensors in weights))
    again = PeftModel.from_pretrained(copy.deepcopy(model.network), str(folder / "again")).eval()
    assert torch.equal(theirs(again), theirs(wrapped))


@pytest.mark.parametrize("family", [family for family in FAMILIES if ("cartridge", family) not in PEFT_CANNOT])
def test_a_cartridge_returns_to_peft_unchanged(family: str, tmp_path: Path) -> None:
    cartridge_round_trip(shared_model(family), tmp_path)


@pytest.mark.parametrize("config_class", [PrefixTuningConfig, CartridgeConfig])
@pytest.mark.parametrize("family", ENCODER_DECODER_FAMILIES)
def test_prefixes_of_encoder_decoders_are_rejected_in_export_and_import(
    family: str, config_class: type[PeftConfig], tmp_path: Path
) -> None:
    """In peft they are in the decoder's self-attention only."""
    model = shared_model(family)
    method = {"name": "prefix"}
    saved = SavedPrompt.from_payload(
        model, random_prefix(model, 3, 0), GenerationTask(), method=method, trained_parameters=1
    )
    assert saved.peft_incompatibility is not None
    config = config_class(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3, num_layers=3, num_attention_heads=4, token_dim=24
    )
    get_peft_model(copy.deepcopy(model.network), config).save_pretrained(str(tmp_path))
    with pytest.raises(NotASavedPrompt, match="for the decoder only"):
        read_peft_adapter(tmp_path, model.shape)


def trained_by_peft(model: FrozenModel, config: PeftConfig) -> torch.nn.Module:
    torch.manual_seed(1)
    wrapped = get_peft_model(copy.deepcopy(model.network), config)
    optimiser = torch.optim.Adam([p for p in wrapped.parameters() if p.requires_grad], lr=0.1)
    ids = torch.tensor(TEXT)
    for _ in range(2):
        optimiser.zero_grad()
        wrapped(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
        optimiser.step()
    return wrapped.eval()


def test_the_strategies_cover_every_tuning_method_and_encoder() -> None:
    from softprompt.prompts import TUNING_METHODS as all_methods

    assert {name for name, _ in METHODS} == set(all_methods)
    assert all({e for n, e in METHODS if n == name} == set(m.builders) for name, m in all_methods.items())


@pytest.mark.real
@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_a_prompt_of_the_bundled_model_gives_the_same_logits_in_peft(smollm2: FrozenModel, method: str) -> None:
    exported(smollm2, PromptOptions(method, 6))


@pytest.mark.real
def test_a_cartridge_of_the_bundled_model_returns_to_peft_unchanged(smollm2: FrozenModel, tmp_path: Path) -> None:
    cartridge_round_trip(smollm2, tmp_path)
