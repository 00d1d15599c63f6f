"""Methods that train nothing, and soft prompts as methods."""

from __future__ import annotations

import pytest
import torch

from softprompt.comparison import Experiment, FitConfig
from softprompt.comparison.methods.local_fitted_model import LocalFittedModel
from softprompt.comparison.methods.method_registry import ADAPTATION_METHODS, get_method
from softprompt.data import ExampleDataset
from softprompt.prompts import TUNING_METHODS
from softprompt.tasks import EncodedExample, LabelTarget
from softprompt.training.callbacks import NullCallback
from tests.comparison.conftest import Settings


def fitted(experiment: Experiment, name: str, **more: object) -> LocalFittedModel:
    found = get_method(name).fit(experiment, FitConfig(experiment.training, **more), NullCallback())
    assert isinstance(found, LocalFittedModel)
    return found


def test_the_hard_prompt_method_has_the_same_metrics_as_the_hard_prompt_of_evaluate(
    experiment: Experiment, tmp_path: object
) -> None:
    import softprompt

    found = fitted(experiment, "hard")
    assert (found.payload, found.num_trained_parameters, found.training_record) == (None, 0, None)
    tuned = softprompt.tune(
        experiment.model,
        data=experiment.settings.data,
        output=tmp_path / "p",
        steps=1,
        virtual_tokens=2,
        template=experiment.task.template,
    )
    beside = softprompt.evaluate(experiment.model, tuned.prompt, list(experiment.test))["hard_prompt"]
    assert found.evaluate(experiment.test).metrics == {name: beside[name] for name in ("accuracy", "macro_f1", "loss")}


@torch.no_grad()
def test_a_compiled_few_shot_prompt_predicts_the_same_as_examples_in_the_sequence(settings: Settings) -> None:
    experiment = Experiment.prepare(settings(trials=1))
    found = fitted(experiment, "few-shot:2")
    payload = found.payload
    assert payload is not None
    row = found.objective.encode_example(experiment.test[0])
    parts = [experiment.task.encode_demonstration(experiment.model, example) for example in _chosen(experiment)]
    ids = [i for part in parts for i in (*part.prompt_ids, *part.answer_ids, *part.separator_ids)]
    assert payload.num_positions == len(ids) + 1  # and BOS
    assert found.stored_bytes == len((experiment.model.tokenizer.decode(ids) + experiment.task.template).encode())
    whole = EncodedExample(
        [experiment.model.prompt_tokenizer.bos_token_id, *ids, *row.prompt_ids[1:]], LabelTarget(row.label_index)
    )
    apart = found.objective.collate([row], payload), found.objective.collate([whole], None)
    behind = found.objective.forward_batch(apart[0], payload), found.objective.forward_batch(apart[1], None)
    torch.testing.assert_close(*behind, atol=1e-4, rtol=0)


def _chosen(experiment: Experiment) -> ExampleDataset:
    from softprompt.comparison.experiment.stratified_sample import draw_stratified_subset

    return draw_stratified_subset(experiment.training, 2, 0, experiment.task)


def test_the_few_shot_prompt_with_the_best_validation_accuracy_is_selected(settings: Settings) -> None:
    one, several = (Experiment.prepare(settings(trials=trials)) for trials in (1, 6))
    first, best = fitted(one, "few-shot:2"), fitted(several, "few-shot:2")
    quality = [found.evaluate(one.validation).metrics["accuracy"] for found in (first, best)]
    assert quality[1] >= quality[0]


def test_every_single_task_tuning_method_is_a_method_of_comparisons() -> None:
    assert {name for name in TUNING_METHODS if not TUNING_METHODS[name].is_multitask} <= set(ADAPTATION_METHODS)


@pytest.mark.parametrize("name", ["prompt", "prefix:mlp", "p-tuning:lstm", "p-tuning-v2"])
def test_a_soft_prompt_method_trains_the_same_prompt_as_tune(settings: Settings, name: str, tmp_path: object) -> None:
    import softprompt

    experiment = Experiment.prepare(settings())
    found = fitted(experiment, name, steps=3, learning_rate=0.01, seed=1, overrides={"num-virtual-tokens": "3"})
    method, _, encoder = name.partition(":")
    tuned = softprompt.tune(
        experiment.model, data=experiment.settings.data, validation=experiment.settings.validation,
        output=tmp_path / "p", steps=3,
        method=method, encoder=encoder or None, batch_size=4, virtual_tokens=3, learning_rate=0.01, seed=1,
        template=experiment.task.template,
    )  # fmt: skip
    assert tuned.prompt is not None
    torch.testing.assert_close(
        found.payload.tensor, experiment.model.compile_payload(tuned.prompt.payload).tensor, atol=1e-6, rtol=0
    )
    assert found.num_trained_parameters == tuned.prompt.manifest.trained_parameters


def test_serving_and_forgetting_are_measured(experiment: Experiment) -> None:
    prefix, full = fitted(experiment, "prefix", steps=2), fitted(experiment, "full", steps=2, learning_rate=0.1)
    bare = fitted(experiment, "hard").compute_reference_loss(experiment.reference_texts)
    for found in (prefix, full):
        for tasks in (1, 50):
            served = found.benchmark_serving(experiment.test, tasks)
            assert served is not None
            assert served.latency_seconds > 0
            assert served.requests_per_second > 0
        assert found.compute_reference_loss(experiment.reference_texts) != bare
    assert (
        prefix.supports_mixed_batches,
        prefix.shares_base_weights,
        full.supports_mixed_batches,
        full.shares_base_weights,
    ) == (True, True, False, False)
    assert prefix.stored_bytes < full.stored_bytes
