"""The objective of a distillation, with the references that its recovery is measured by."""

from __future__ import annotations

from softprompt.distillation.context import Context, encode_text
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.label_distillation import LabelDistillationObjective
from softprompt.distillation.response_distillation import ResponseDistillationObjective, ResponseNLL
from softprompt.distillation.targeted_inputs import TargetedInputs
from softprompt.evaluation.batch_inference import collect_outputs, compute_metrics
from softprompt.model import KVPrefix
from softprompt.tasks import ChatTask
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective

DistillationObjectives = LabelDistillationObjective | ResponseDistillationObjective


def build_distillation_objective(setup: DistillSetup, inputs: TargetedInputs) -> DistillationObjectives:
    """Build the objective of a run, and measure the model without a prompt and behind the whole text.

    Args:
        setup: Setup of the run.
        inputs: Inputs with the teacher's targets.
    """
    num_positions = int(setup.settings.num_virtual_tokens) + setup.context.prefix.has_bos
    base = setup.task.build_objective(setup.model, setup.model.shape.window - num_positions)
    if isinstance(base, ClassificationObjective):
        return LabelDistillationObjective(base, _measure_untrained_kl(base, inputs))
    assert isinstance(base, LanguageModelingObjective)
    return ResponseDistillationObjective(base, _measure_nll(base, setup, inputs))


def _measure_untrained_kl(base: ClassificationObjective, inputs: TargetedInputs) -> float | None:
    if not inputs.validation:
        return None
    return compute_metrics(LabelDistillationObjective(base), None, inputs.validation)["kl"]


def _measure_nll(base: LanguageModelingObjective, setup: DistillSetup, inputs: TargetedInputs) -> ResponseNLL | None:
    if not inputs.validation:
        return None
    objective = ResponseDistillationObjective(base)
    without, with_context = (
        collect_outputs(objective, payload, inputs.validation).double().sum(dim=0)
        for payload in (compile_empty_text(setup), setup.context.prefix)
    )
    return ResponseNLL(float(without[1] / without[3]), float(with_context[1] / with_context[3]))


def compile_empty_text(setup: DistillSetup) -> KVPrefix | None:
    """Return what precedes the inputs without the text: the beginning of a chat with an empty system message, if any.

    The inputs of such a chat continue a system message, so they do not begin a conversation themselves.
    """
    if not (isinstance(setup.task, ChatTask) and setup.task.system_message == "prompt"):
        return None
    token_ids = encode_text("", setup.task, setup.model)
    return Context.from_token_ids(token_ids, setup.model).prefix if token_ids else None
