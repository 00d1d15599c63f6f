"""Law 4: save, load, same logits, bit for bit."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given

from softprompt.data import Example
from softprompt.model import FrozenModel, Placement
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask
from tests.strategies import families, lengths, methods, seeds
from tests.tiny import WITH_BOS, shared_model

TASK = ClassificationTask(labels=("good", "bad"))


def round_trip(model: FrozenModel, options: PromptOptions) -> None:
    """Train nothing, but move every parameter; save, load, compare the labels' probabilities."""
    prompt, _ = build_prompt(options, model, "a film", TASK.labels)
    generator = torch.Generator().manual_seed(options.seed)
    with torch.no_grad():
        for parameter in prompt.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        trained = prompt()
        payload = model.compile(trained)
        objective = TASK.bind(model, model.shape.window - payload.num_positions, prompt.head)
        row = objective.encode_text(Example({"text": "the film was great"}))
        batch = objective.collate([row], payload)
        before = objective.log_probabilities(objective.read(batch, payload), batch)
    with TemporaryDirectory() as folder:
        made = SavedPrompt.make(
            model, trained, TASK, method={"name": options.method}, trained_parameters=1, head=prompt.head
        )
        made.write(Path(folder) / "p")
        loaded = SavedPrompt.read(Path(folder) / "p")
    assert loaded.manifest == made.manifest
    payload = loaded.bound(model)
    objective = loaded.objective(model, payload)  # type: ignore[assignment]
    with torch.no_grad():
        batch = objective.collate([row], payload)
        after = objective.log_probabilities(objective.read(batch, payload), batch)
    assert torch.equal(before, after)


@given(family=families, method=methods, P=lengths, seed=seeds)
def test_saved_is_trained(family: str, method: tuple[str, str], P: int, seed: int) -> None:
    round_trip(shared_model(family), PromptOptions(method[0], P, encoder=method[1], seed=seed))


@pytest.mark.parametrize("placement", [Placement.AFTER_BOS, Placement.AFTER_TEXT])
@pytest.mark.parametrize("family", WITH_BOS)
def test_wherever_it_stands(family: str, placement: Placement) -> None:
    round_trip(shared_model(family), PromptOptions("prompt", 3, placement=placement))


@pytest.mark.real
@pytest.mark.parametrize("method", ["prompt", "prefix", "p-tuning-v2"])
def test_on_the_real_model(smollm2: FrozenModel, method: str) -> None:
    round_trip(smollm2, PromptOptions(method, 5))
