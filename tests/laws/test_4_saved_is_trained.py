"""Law 4: a prompt that is saved and loaded gives the same logits as before, bit for bit."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given

from softprompt.data import Example
from softprompt.distillation.distilled_prefix import DistilledPrefix
from softprompt.distillation.initial_prefix import DISTILL_INITIALIZERS, PrefixInitContext
from softprompt.model import CausalModel, FrozenModel, Placement
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.prompts.spread_cache import get_kv_spread
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask
from tests.distillation.targets import FAMILIES_AND_STARTS, build_context
from tests.laws.few import fewest
from tests.strategies import METHODS_ON_FAMILIES, lengths, options, seeds
from tests.tiny import MASKED_FAMILIES, WITH_BOS, shared_model, template_for


def round_trip(model: FrozenModel, given: PromptOptions, template: str = "{text}\nLabel:") -> None:
    task = ClassificationTask(labels=("good", "bad"), template=template)
    prompt, _ = build_prompt(given, model, "a film", task.labels)
    check_saved(model, prompt, task, given.method, given.seed)


def check_saved(model: FrozenModel, prompt: SoftPrompt, task: ClassificationTask, method: str, seed: int) -> None:
    """Change every parameter without training; save, load, and compare the labels' probabilities."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in prompt.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        trained = prompt()
        payload = model.compile_payload(trained)
        objective = task.build_objective(model, model.shape.window - payload.num_positions, prompt.head)
        row = objective.encode_unlabeled(Example({"text": "the film was great"}))
        batch = objective.collate([row], payload)
        before = objective.compute_log_probs(objective.forward_batch(batch, payload), batch)
    with TemporaryDirectory() as folder:
        made = SavedPrompt.from_payload(
            model, trained, task, method={"name": method}, trained_parameters=1, head=prompt.head
        )
        made.save_to(Path(folder) / "p")
        loaded = SavedPrompt.from_folder(Path(folder) / "p")
    assert loaded.manifest == made.manifest
    payload = loaded.compile_for(model)
    objective = loaded.build_objective(model, payload)  # type: ignore[assignment]
    with torch.no_grad():
        batch = objective.collate([row], payload)
        after = objective.compute_log_probs(objective.forward_batch(batch, payload), batch)
    assert torch.equal(before, after)


@pytest.mark.parametrize(("family", "method", "encoder"), METHODS_ON_FAMILIES)
@given(P=lengths, seed=seeds)
@fewest
def test_a_loaded_prompt_gives_the_probabilities_of_the_trained_prompt(
    family: str, method: str, encoder: str, P: int, seed: int
) -> None:
    round_trip(shared_model(family), options(method, P, encoder=encoder, seed=seed), template_for(family))


@pytest.mark.parametrize("placement", [Placement.AFTER_BOS, Placement.AFTER_TEXT, Placement.IN_TEMPLATE])
@pytest.mark.parametrize("family", WITH_BOS)
def test_a_loaded_prompt_of_any_placement_gives_the_probabilities_of_the_trained_prompt(
    family: str, placement: Placement
) -> None:
    model = shared_model(family)
    if placement in model.placements:
        marked = "[P1] [P2] {text} [P3] so" if placement is Placement.IN_TEMPLATE else "{text} so"
        blank = " [MASK]" if family in MASKED_FAMILIES else ""
        round_trip(model, PromptOptions("prompt", 3, placement=placement), marked + blank)


@pytest.mark.parametrize(("family", "init"), FAMILIES_AND_STARTS)
@given(P=lengths, seed=seeds)
@fewest
def test_a_loaded_prompt_gives_the_probabilities_of_the_distilled_prefix(
    family: str, init: str, P: int, seed: int
) -> None:
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    context = build_context(model)
    initial_value = DISTILL_INITIALIZERS[init](PrefixInitContext(model, context, (), P, seed))
    prompt = DistilledPrefix(initial_value, get_kv_spread(model), context.prefix.placement)
    task = ClassificationTask(labels=("good", "bad"), template="{text}\nLabel:")
    check_saved(model, prompt, task, "distillation", seed)


@pytest.mark.real
@pytest.mark.parametrize("method", ["prompt", "prefix", "p-tuning-v2"])
def test_a_loaded_prompt_of_the_bundled_model_gives_the_trained_probabilities(
    smollm2: FrozenModel, method: str
) -> None:
    round_trip(smollm2, PromptOptions(method, 5))
