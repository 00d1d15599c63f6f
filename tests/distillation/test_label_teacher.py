"""The teacher of label probabilities, and its calibrations."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from softprompt.distillation.label_teacher import CONTENT_FREE_TEXTS, MIN_BATCH_INPUTS, Calibration, LabelTeacher
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.model import CausalModel
from softprompt.tasks import LabelTarget
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.encoded_example import SoftLabelTarget, get_supervision
from tests.distillation.targets import INPUTS, build_base, build_context, encode
from tests.tiny import shared_model


def teach(calibration: Calibration, texts: Sequence[str] = INPUTS) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the teacher's log-probabilities of the inputs, and those of the model behind the text."""
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    base, context = build_base(model, "classification"), build_context(model)
    assert isinstance(base, ClassificationObjective)
    inputs = encode(base, texts)
    taught = LabelTeacher(base, context, calibration).add_targets(inputs)
    targets = torch.stack([get_supervision(example, SoftLabelTarget).log_probs for example in taught])
    return targets, collect_outputs(base, context.prefix, inputs)


def test_without_calibration_the_targets_are_the_models_probabilities() -> None:
    targets, raw = teach("none")
    torch.testing.assert_close(targets, raw)


def test_batch_calibration_divides_by_the_mean_over_the_inputs() -> None:
    targets, raw = teach("batch")
    ratio = raw.exp() / raw.exp().mean(dim=0)
    torch.testing.assert_close(targets.exp(), ratio / ratio.sum(dim=1, keepdim=True))


def test_contextual_calibration_divides_by_the_mean_over_texts_without_content() -> None:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    base, context = build_base(model, "classification"), build_context(model)
    empty = collect_outputs(base, context.prefix, encode(base, CONTENT_FREE_TEXTS)).exp().mean(dim=0)
    targets, raw = teach("contextual")
    ratio = raw.exp() / empty
    torch.testing.assert_close(targets.exp(), ratio / ratio.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("calibration", ["batch", "contextual", "none"])
def test_calibrated_probabilities_sum_to_one(calibration: Calibration) -> None:
    targets, _ = teach(calibration)
    torch.testing.assert_close(targets.exp().sum(dim=1), torch.ones(len(INPUTS)))


def test_known_labels_are_kept() -> None:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    base = build_base(model, "classification")
    assert isinstance(base, ClassificationObjective)
    inputs = encode(base, INPUTS)
    inputs[1] = type(inputs[1])(inputs[1].prompt_ids, LabelTarget(2))
    seen: list[int] = []
    taught = LabelTeacher(base, build_context(model), "batch").add_targets(inputs, seen.append)
    assert [example.label_index for example in taught] == [-1, 2, -1, -1, -1]
    assert seen[-1] == len(INPUTS)


@pytest.mark.parametrize("num_inputs", range(1, MIN_BATCH_INPUTS))
def test_a_mean_over_too_few_inputs_is_replaced_by_texts_without_content(
    num_inputs: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The mean over a single input would make all labels equally probable."""
    texts = INPUTS[:num_inputs]
    targets, _ = teach("batch", texts)
    assert f"{num_inputs} are too few" in caplog.text
    torch.testing.assert_close(targets, teach("contextual", texts)[0])
    assert (targets.exp().max(dim=1).values > 1 / 3 + 1e-3).all()


@pytest.mark.parametrize(("calibration", "num_inputs"), [("batch", MIN_BATCH_INPUTS), ("contextual", 1), ("none", 1)])
def test_calibrations_that_fit_the_inputs_are_kept_without_a_warning(
    calibration: Calibration, num_inputs: int, caplog: pytest.LogCaptureFixture
) -> None:
    teach(calibration, INPUTS[:num_inputs])
    assert not caplog.text
