"""Prefixes train equally well at any scale of a layer's keys and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import softprompt
from softprompt.model import FrozenModel
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.saved import SavedPrompt
from softprompt.training import StepEvent
from softprompt.training.callbacks import NullCallback
from tests.laws.few import fewest
from tests.rescaling import attentions, rescale
from tests.tiny import ALL_FAMILIES, shared_model, template_for, tiny_model

FACTORS = st.sampled_from([1e-3, 1e-2, 0.1, 10.0, 100.0, 1000.0])
PREFIXES = [("prefix", "none"), ("prefix", "mlp"), ("p-tuning-v2", "none")]


class Losses(NullCallback):
    """Callback that records the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_step(self, event: StepEvent) -> None:
        self.losses.append(event.loss)


def course(model: FrozenModel, family: str, reviews: Path, output: Path, **more: Any) -> list[float]:
    """Return the losses of a short run at the default learning rate."""
    watcher = Losses()
    softprompt.tune(
        model, data=reviews, validation=reviews, output=output, overwrite=True, template=template_for(family), max_steps=4,  # noqa: E501
        batch_size=6, num_virtual_tokens=3, warmup_ratio=0, callback=watcher, **more,
    )  # fmt: skip
    return watcher.losses


@pytest.mark.parametrize("family", ALL_FAMILIES)
@settings(fewest, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rescaling_keys_and_values_of_a_layer_does_not_change_the_training_losses(
    data: st.DataObject, family: str, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprompt.training.prepared_run.plot_loss", lambda *_: None)
    scaled = tiny_model(family)
    layer = data.draw(st.integers(0, len(attentions(scaled.network)) - 1))
    rescale(scaled.network, layer, data.draw(FACTORS), data.draw(FACTORS))
    method, encoder = data.draw(st.sampled_from(PREFIXES))
    before, after = (
        course(model, family, reviews, tmp_path / "p", method=method, encoder=encoder)
        for model in (tiny_model(family), scaled)
    )
    assert after == pytest.approx(before, abs=2e-3)


@pytest.mark.parametrize(("method", "encoder"), PREFIXES)
def test_a_prefix_starts_exactly_at_its_initial_value(method: str, encoder: str) -> None:
    model = shared_model("llama")
    options = PromptOptions(method, 3, encoder=encoder)
    prompt, _ = build_prompt(options, model, "the film was great", ("good", "bad"))
    with torch.no_grad():
        torch.testing.assert_close(prompt().tensor, prompt.start, rtol=0, atol=0)


def test_training_a_frozen_sink_changes_its_values_but_not_its_keys(reviews: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    settings: dict[str, Any] = {"data": reviews, "template": template_for("llama"), "num_virtual_tokens": 3, "seed": 1}
    softprompt.tune(model, output=tmp_path / "p", max_steps=3, freeze_sink=True, **settings)
    softprompt.tune(model, output=tmp_path / "start", max_steps=1, learning_rate=1e-12, **settings)
    trained, start = (SavedPrompt.from_folder(tmp_path / name).payload.tensor for name in ("p", "start"))
    moved = (trained - start).abs().amax(dim=(0, 2, 4))  # [2, P]
    assert float(moved[0, 0]) == pytest.approx(0, abs=1e-6)
    assert float(moved[0, 1:].min()) > 1e-4
    assert float(moved[1].min()) > 1e-4
