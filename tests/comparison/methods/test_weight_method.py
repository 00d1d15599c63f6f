"""Methods that change weights: the base model stays unchanged, only their parameters train, and they learn."""

from __future__ import annotations

import pytest
import torch

from softprompt.comparison import Experiment, FitConfig
from softprompt.comparison.methods.local_fitted_model import LocalFittedModel
from softprompt.comparison.methods.method_registry import get_method
from softprompt.comparison.methods.weight_method import WeightMethod, copy_model
from softprompt.errors import SettingError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks import GenerationTask
from softprompt.training.callbacks import NullCallback
from tests.comparison.conftest import Settings
from tests.laws.test_1_frozen_means_frozen import weights_hash
from tests.tiny import FAMILIES, tiny_model

L, H, INNER, G, D = 3, 24, 40, 2, 6  # sizes of the tiny Llama
Q, KV = 4 * D, G * D
LINEAR = [(H, Q), (H, KV), (H, KV), (Q, H), (H, INNER), (H, INNER), (INNER, H)]  # of each layer, in and out

TRAINED = {
    "full": None,
    "last:1": sum(i * o for i, o in LINEAR) + 2 * H,
    "bitfit": L * sum(o for _, o in LINEAR),
    "head": 2 * H + 2,
    "lora:2": L * sum(2 * (i + o) for i, o in LINEAR),
    "dora:2": L * sum(2 * (i + o) + o for i, o in LINEAR),
    "ia3": L * sum(o for _, o in LINEAR),
    "adapter:5": L * 2 * 5 * H,
    "lokr": None,
}


def fitted(experiment: Experiment, name: str, steps: int = 3, seed: int = 0, **more: object) -> LocalFittedModel:
    trial = FitConfig(experiment.training, seed=seed, steps=steps, **more)
    found = get_method(name).fit(experiment, trial, NullCallback())
    assert isinstance(found, LocalFittedModel)
    return found


def adapted(model: FrozenModel, experiment: Experiment, name: str) -> FrozenModel:
    method = get_method(name)
    assert isinstance(method, WeightMethod)
    return method.make_trainable(experiment, copy_model(model), seed=0).model


@pytest.mark.parametrize("name", TRAINED)
def test_the_base_model_stays_unchanged_and_trained_parameters_are_counted(experiment: Experiment, name: str) -> None:
    before = weights_hash(experiment.model)
    found = fitted(experiment, name)
    assert weights_hash(experiment.model) == before
    assert not any(p.requires_grad for p in experiment.model.network.parameters())
    expected = TRAINED[name] or found.num_trained_parameters
    assert found.num_trained_parameters == expected > 0
    assert found.stored_bytes == 4 * expected
    trainable = sum(p.numel() for p in found.objective.model.network.parameters() if p.requires_grad)
    if name not in ("head", "adapter:5"):  # whose parameters are outside the network
        assert trainable == expected
    if name == "full":
        assert expected == experiment.model.num_parameters


@pytest.mark.parametrize("name", ["lora", "dora", "lokr", "ia3", "adapter", "bitfit"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_added_parameters_do_not_change_the_outputs_before_training(
    family: str, name: str, experiment: Experiment
) -> None:
    """In every family; the test below finds an adapter that the model does not run."""
    model = tiny_model(family)
    if (family, name) == ("gpt2", "lokr"):
        with pytest.raises(SettingError, match="peft cannot adapt"):
            adapted(model, experiment, name)
        return
    ids = torch.tensor([[5, 9, 77, 300]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    changed = adapted(model, experiment, name)
    torch.testing.assert_close(
        changed.compute_hidden_states(ids, mask), model.compute_hidden_states(ids, mask), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", ["lora", "ia3", "adapter", "bitfit", "last:1", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_changing_trainable_parameters_changes_the_hidden_states(
    family: str, name: str, experiment: Experiment
) -> None:
    model = tiny_model(family)
    method = get_method(name)
    assert isinstance(method, WeightMethod)
    found = method.make_trainable(experiment, copy_model(model), seed=0)
    ids = torch.tensor([[5, 9, 77, 300]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        before = found.model.compute_hidden_states(ids, mask)
        for number, parameter in enumerate(found.parameters.values()):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        assert (found.model.compute_hidden_states(ids, mask) - before).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["full", "last:2", "bitfit", "lora", "dora", "lokr", "ia3", "adapter", "head"])
def test_every_weight_method_lowers_the_training_loss(experiment: Experiment, name: str) -> None:
    rate = 0.05 if name == "head" else 0.02
    found = fitted(experiment, name, steps=40, learning_rate=rate)
    assert found.training_record is not None
    first, last = found.training_record.evaluations[0], found.training_record.evaluations[-1]
    bare = (
        get_method("hard").fit(experiment, FitConfig(experiment.training), NullCallback()).evaluate(experiment.training)
    )
    assert found.evaluate(experiment.training).metrics["loss"] < 0.8 * bare.metrics["loss"]
    assert first["step"] < last["step"] == 40


def test_the_fitted_model_has_the_parameters_of_the_best_step(experiment: Experiment) -> None:
    found = fitted(experiment, "lora", steps=12, learning_rate=0.5)
    assert found.training_record is not None
    assert found.training_record.best is not None
    kept = found.evaluate(experiment.validation).metrics
    assert kept["loss"] == pytest.approx(found.training_record.best["loss"], abs=1e-5)
    assert kept["accuracy"] == max(each["accuracy"] for each in found.training_record.evaluations)


def test_the_same_seed_gives_the_same_result(experiment: Experiment) -> None:
    one, same, other = (fitted(experiment, "lora", seed=seed).evaluate(experiment.test) for seed in (1, 1, 2))
    assert one == same
    assert one.metrics["loss"] != other.metrics["loss"]


def test_tagging_trains_a_head_with_the_weights(settings: Settings, tmp_path: object) -> None:
    from tests.comparison.conftest import written
    from tests.tasks.test_token_classification_task import ROWS

    files = {name: written(tmp_path / f"{name}-tags.jsonl", ROWS) for name in ("data", "validation", "test")}
    experiment = Experiment.prepare(settings(**files, template=None, allow_overlap=True))
    found = fitted(experiment, "lora:2", steps=2)
    assert found.num_trained_parameters == TRAINED["lora:2"] + len(experiment.task.labels) * (H + 1)
    assert 0 <= found.evaluate(experiment.test).metrics["f1"] <= 1
    with pytest.raises(TaskError, match="trained with the prompt"):
        fitted(experiment, "hard")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("last:9", "has 3 layers"),
        ("last:x", "as in last:2"),
        ("lora:0", "pass the rank"),
        ("adapter:-1", "pass the width"),
        ("full:2", "full takes no argument"),
        ("prefix:lstm", "unknown encoder 'lstm'"),
        ("few-shot:none", "as in few-shot:8"),
        ("few-shot:25", "24 examples to choose from"),
        ("few-shot:20", "fill more than half of the context window"),
        ("magic", "unknown method 'magic': choose one of hard"),
        ("no.such.module:Way", "No module named"),
        ("tests.tiny:FAMILIES", r'`methods=\["tests.tiny:FAMILIES"\]`'),
    ],
)
def test_unknown_methods_and_invalid_arguments_are_rejected(experiment: Experiment, name: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        fitted(experiment, name)


def test_training_a_head_for_a_task_without_labels_is_rejected(settings: Settings, pairs: object) -> None:
    experiment = Experiment.prepare(settings())
    object.__setattr__(experiment, "task", GenerationTask())
    with pytest.raises(TaskError, match="no labels"):
        fitted(experiment, "head")
