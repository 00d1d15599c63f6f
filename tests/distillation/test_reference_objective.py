"""What a recovery is measured by: the model without the text, and behind the whole text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from softprompt.distillation.distill_settings import DistillSettings
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.reference_objective import build_distillation_objective
from softprompt.distillation.response_distillation import ResponseDistillationObjective
from softprompt.distillation.targeted_inputs import TargetedInputs
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.model import CausalModel
from softprompt.tasks.chat_tokenizer import ChatTokenizer
from tests.chat_templates import OTHER_TEMPLATES, SYSTEM_TEMPLATES, chat_model
from tests.distillation.targets import TEXT
from tests.tiny import shared_model

WriteJsonl = Callable[[str, Sequence[Any]], Path]


def set_up(model: CausalModel, write_jsonl: WriteJsonl, tmp_path: Path, **settings: Any) -> DistillSetup:
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    inputs = write_jsonl("inputs.jsonl", [{"text": text} for text in ("the film", "a bore", "tea with fish")])
    values = {"model": "tiny", "context": tmp_path / "text.txt", "data": inputs, "validation": inputs}
    defaults = {"output": tmp_path / "p", "num_virtual_tokens": 3, "max_new_tokens": 4}
    return DistillSetup.from_settings(DistillSettings.from_dict({**values, **defaults, **settings}), model)


def teach(setup: DistillSetup) -> TargetedInputs:
    assert setup.inputs is not None
    taught = setup.create_teacher().add_targets([*setup.inputs.train, *setup.inputs.validation])
    return TargetedInputs(taught[:3], taught[3:])


@pytest.mark.parametrize("labels", [("good", "bad"), None])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_the_whole_text_has_a_recovery_of_one_and_no_prompt_of_zero(
    family: str, labels: tuple[str, str] | None, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    setup = set_up(model, write_jsonl, tmp_path, labels=labels, calibration="none")
    inputs = teach(setup)
    objective = build_distillation_objective(setup, inputs)
    for payload, recovery in ((setup.context.prefix, 1.0), (None, 0.0)):
        outputs = collect_outputs(objective, payload, inputs.validation)
        assert objective.compute_metrics(outputs, inputs.validation)["recovery"] == pytest.approx(recovery, abs=1e-4)


@pytest.mark.parametrize("template", SYSTEM_TEMPLATES)
def test_a_chat_without_the_text_has_an_empty_system_message(
    template: str, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    """Its inputs alone would begin in the middle of a system turn."""
    model = chat_model(SYSTEM_TEMPLATES[template])
    setup = set_up(model, write_jsonl, tmp_path)
    inputs = teach(setup)
    objective = build_distillation_objective(setup, inputs)
    assert isinstance(objective, ResponseDistillationObjective)
    nll, count = 0.0, 0
    for example, text in zip(inputs.validation, ("the film", "a bore", "tea with fish"), strict=True):
        chat = [{"role": "system", "content": ""}, {"role": "user", "content": text}]
        ids = [*ChatTokenizer(model).tokenize_generation_prompt(chat, "a"), *example.response_ids]
        with torch.no_grad():
            logits = model.network(input_ids=torch.tensor([ids])).logits[0, -len(example.response_ids) - 1 : -1]
        nll += float(torch.nn.functional.cross_entropy(logits, torch.tensor(example.response_ids), reduction="sum"))
        count += len(example.response_ids)
    reference = objective._reference_nll
    assert reference is not None
    assert reference.without_context == pytest.approx(nll / count, abs=1e-4)


def test_a_chat_without_a_place_for_a_system_message_is_measured_without_the_text(
    write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    setup = set_up(chat_model(OTHER_TEMPLATES["no-system"]), write_jsonl, tmp_path)
    inputs = teach(setup)
    objective = build_distillation_objective(setup, inputs)
    outputs = collect_outputs(objective, None, inputs.validation)
    assert objective.compute_metrics(outputs, inputs.validation)["recovery"] == pytest.approx(0, abs=1e-4)
