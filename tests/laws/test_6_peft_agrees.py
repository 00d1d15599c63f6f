"""Law 6: our export read by peft, and a prompt trained by peft read by us, give the same logits."""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from peft import PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from torch import Tensor

from softprompt.model import FrozenModel, Payload
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.saved import SavedPrompt, read_peft
from softprompt.tasks import GenerationTask
from tests.strategies import METHODS, families, lengths, methods, seeds
from tests.tiny import FAMILIES, shared_model

TEXT = [[5, 9, 77, 300, 12]]


@torch.no_grad()
def ours(model: FrozenModel, payload: Payload) -> Tensor:
    ids = torch.tensor(TEXT)
    return model.logits(model.hidden(ids, torch.ones_like(ids, dtype=torch.bool), model.compile(payload)))


@torch.no_grad()
def theirs(wrapped: torch.nn.Module) -> Tensor:
    """Peft's logits at the text's tokens; prompt and P-tuning return the virtual positions as well."""
    ids = torch.tensor(TEXT)
    logits: Tensor = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits[:, -ids.shape[1] :]


def exported(model: FrozenModel, options: PromptOptions) -> None:
    prompt, _ = build_prompt(options, model, "a film")
    with torch.no_grad():
        for parameter in prompt.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    saved = SavedPrompt.make(model, prompt(), GenerationTask(), method={"name": options.method}, trained_parameters=1)
    with TemporaryDirectory() as folder:
        saved.write(Path(folder) / "p")
        wrapped = PeftModel.from_pretrained(copy.deepcopy(model.network), str(Path(folder) / "p")).eval()
    found = theirs(wrapped)
    torch.testing.assert_close(found, ours(model, saved.payload), atol=1e-4, rtol=0)
    with wrapped.disable_adapter():
        assert (theirs(wrapped) - found).abs().max() > 1e-2  # the prompt does something


@given(family=families, method=methods, P=lengths, seed=seeds)
def test_peft_reads_our_export(family: str, method: tuple[str, str], P: int, seed: int) -> None:
    torch.manual_seed(seed)
    exported(shared_model(family), PromptOptions(method[0], P, encoder=method[1], head="verbalizer", seed=seed))


CONFIGS = {
    "prompt tuning": lambda P: PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=P),
    "P-tuning, MLP": lambda P: PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=P, encoder_hidden_size=16),
    "P-tuning, LSTM": lambda P: PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=P, encoder_hidden_size=16, encoder_reparameterization_type="LSTM"
    ),
    "prefix": lambda P: PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=P),
    "prefix, projected": lambda P: PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=P, prefix_projection=True, encoder_hidden_size=16
    ),
}


#: What peft itself cannot train: it gives a model of one key/value head a prefix with a head for each query's.
PEFT_CANNOT = [("prefix", "falcon"), ("prefix, projected", "falcon")]


@pytest.mark.parametrize(("name", "family"), [pair for pair in product(CONFIGS, FAMILIES) if pair not in PEFT_CANNOT])
def test_we_read_what_peft_trained(name: str, family: str, tmp_path: Path) -> None:
    model = shared_model(family)
    torch.manual_seed(1)
    wrapped = get_peft_model(copy.deepcopy(model.network), CONFIGS[name](4))
    optimiser = torch.optim.Adam([p for p in wrapped.parameters() if p.requires_grad], lr=0.1)
    ids = torch.tensor(TEXT)
    for _ in range(2):
        optimiser.zero_grad()
        wrapped(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
        optimiser.step()
    wrapped.eval()
    wrapped.save_pretrained(str(tmp_path))
    payload = read_peft(tmp_path, model.shape)
    torch.testing.assert_close(ours(model, payload), theirs(wrapped), atol=1e-4, rtol=0)


def test_every_method_is_covered() -> None:
    from softprompt.prompts import METHODS as all_methods

    assert {name for name, _ in METHODS} == set(all_methods)
    assert all({e for n, e in METHODS if n == name} == set(m.encoders) for name, m in all_methods.items())


@pytest.mark.real
@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_on_the_real_model(smollm2: FrozenModel, method: str) -> None:
    exported(smollm2, PromptOptions(method, 6))
