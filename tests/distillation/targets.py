"""Inputs with a teacher's targets, and the texts that they are made from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from softprompt.data import Example
from softprompt.distillation.context import Context
from softprompt.distillation.initial_prefix import ATTENTION_MATCHING, DISTILL_INITIALIZERS
from softprompt.distillation.label_distillation import LabelDistillationObjective
from softprompt.distillation.label_teacher import LabelTeacher
from softprompt.distillation.response_distillation import ResponseDistillationObjective
from softprompt.distillation.response_teacher import ResponseTeacher
from softprompt.model import CausalModel
from softprompt.tasks import ClassificationTask, EncodedExample, GenerationTask, Objective
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from tests.tiny import FAMILIES, WITHOUT_QUERIES

TEXT = "the film was great fun and the food is awful so say good or bad"
INPUTS = ("the film", "a bore", "the plot was lovely, the ending awful", "tea", "each scene was the name of a fish")
KINDS = ("classification", "generation")

#: Families with each of the initial prefixes that they support.
FAMILIES_AND_STARTS = [
    (family, init)
    for family in FAMILIES
    for init in DISTILL_INITIALIZERS
    if init != ATTENTION_MATCHING or family not in WITHOUT_QUERIES
]


def build_base(model: CausalModel, kind: str) -> ClassificationObjective | LanguageModelingObjective:
    """Build the objective of a task that leaves space for the text."""
    if kind == "classification":
        task = ClassificationTask(labels=("good", "bad", "fun"), template="{input} so")
        objective: Objective = task.build_objective(model, model.shape.window - 40)
    else:
        objective = GenerationTask(template="{input} so").build_objective(model, model.shape.window - 40)
    assert isinstance(objective, ClassificationObjective | LanguageModelingObjective)
    return objective


def build_context(model: CausalModel, text: str = TEXT) -> Context:
    """Compute the keys and values of a text."""
    return Context.from_token_ids(model.prompt_tokenizer.encode_text(text), model)


def encode(base: ClassificationObjective | LanguageModelingObjective, texts: Sequence[str]) -> list[EncodedExample]:
    """Encode inputs without answers."""
    examples = [Example({"input": text}) for text in texts]
    if isinstance(base, ClassificationObjective):
        return [base.encode_unlabeled(example) for example in examples]
    return [base.encode_prompt(example, 8) for example in examples]


def teach(
    model: CausalModel, kind: str, texts: Sequence[str] = INPUTS, num_top_tokens: int = 8
) -> tuple[LabelDistillationObjective | ResponseDistillationObjective, list[EncodedExample]]:
    """Return the objective of a distillation, and inputs with the targets of the model behind `TEXT`."""
    base, context = build_base(model, kind), build_context(model)
    inputs = encode(base, texts)
    if isinstance(base, ClassificationObjective):
        return LabelDistillationObjective(base), LabelTeacher(base, context, "none").add_targets(inputs)
    teacher = ResponseTeacher(base, context, 5, num_top_tokens)
    return ResponseDistillationObjective(base), teacher.add_targets(inputs)


@torch.no_grad()
def compute_outputs(
    objective: LabelDistillationObjective | ResponseDistillationObjective,
    examples: Sequence[EncodedExample],
    payloads: Sequence[object],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return losses and outputs of a batch of examples, each with a payload of its own."""
    batch = objective.collate(examples, list(payloads))  # type: ignore[arg-type]
    hidden_states = objective.forward_batch(batch, list(payloads))  # type: ignore[arg-type]
    return objective.compute_losses(hidden_states, batch), objective.compute_outputs(hidden_states, batch)
