"""Law 1: the base's weights hash the same before and after any training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import softprompt
from softprompt.model import FrozenModel
from tests.strategies import METHODS_ON_FAMILIES, tuning
from tests.tiny import FAMILIES, template_for, tiny_model


def weights_hash(model: FrozenModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.network.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(("family", "method", "encoder"), METHODS_ON_FAMILIES)
def test_training_changes_no_weight_of_the_base_model(family: str, method: str, encoder: str, reviews: Path) -> None:
    model = tiny_model(family)
    before = weights_hash(model)
    with TemporaryDirectory() as folder:
        tuned = softprompt.tune(
            model,
            data=reviews,
            template=template_for(family),
            output=Path(folder) / "p",
            encoder=encoder,
            max_steps=3,
            batch_size=4,
            **tuning(method, 3),
        )
    assert tuned.steps == 3
    assert weights_hash(model) == before
    assert not any(p.requires_grad or p.grad is not None for p in model.network.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [("good", "bad"), None], ids=["labels", "responses"])
def test_distillation_changes_no_weight_of_the_base_model(
    family: str, labels: tuple[str, str] | None, reviews: Path, tmp_path: Path
) -> None:
    model = tiny_model(family)
    before = weights_hash(model)
    (tmp_path / "text.txt").write_text("the film was great fun, so say good or bad", "utf-8")
    distilled = softprompt.distil(
        model,
        context=tmp_path / "text.txt",
        data=reviews,
        labels=labels,
        output=tmp_path / "p",
        num_virtual_tokens=3,
        max_new_tokens=3,
        max_steps=2,
        batch_size=4,
        force=True,  # a random model is at chance
    )
    assert distilled.steps == 2
    assert weights_hash(model) == before
    assert not any(p.requires_grad or p.grad is not None for p in model.network.parameters())


def test_the_weight_hash_changes_with_a_single_weight() -> None:
    model = tiny_model("llama")
    before = weights_hash(model)
    next(model.network.parameters()).data[0, 0] += 1e-3
    assert weights_hash(model) != before
