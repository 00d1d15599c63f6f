"""Setup of a distillation: the text in front of the inputs, the task, and the encoded inputs."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass

from softprompt.data import ExampleDataset
from softprompt.distillation.context import Context, encode_source, require_causal
from softprompt.distillation.distill_settings import DistillSettings
from softprompt.distillation.distill_task import DistillableTask, build_distill_task
from softprompt.distillation.initial_prefix import select_initializer
from softprompt.distillation.inputs import (
    DistillInputs,
    EncodedInputs,
    encode_answered_inputs,
    encode_inputs,
    read_validation_inputs,
)
from softprompt.distillation.label_teacher import LabelTeacher
from softprompt.distillation.response_teacher import ResponseTeacher
from softprompt.distillation.source_text import SourceText
from softprompt.errors import SettingError
from softprompt.model import CausalModel, FrozenModel
from softprompt.tasks import GenerationTask, Objective
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from softprompt.tasks.templates.template import Template

logger = logging.getLogger(__name__)

MIN_QUESTION_TOKENS = 64  # positions beside the answer that a document must leave for a question about it


@dataclass(frozen=True)
class DistillSetup:
    """Setup of a run.

    Attributes:
        settings: Settings of the run.
        model: Frozen base model.
        source: Text to distill.
        task: Task of the prompt.
        context: The text in front of the inputs.
        objective: Objective of the task behind the whole text.
        inputs: Encoded inputs; without any to train on if the model writes them, or nothing is trained.
        digests: Hash of the content of each data source, by the name of its setting.
    """

    settings: DistillSettings
    model: CausalModel
    source: SourceText
    task: DistillableTask
    context: Context
    objective: Objective
    inputs: EncodedInputs
    digests: dict[str, str]

    @classmethod
    def from_settings(cls, settings: DistillSettings, model: FrozenModel) -> DistillSetup:
        """Read the text and the inputs, and compute the keys and values of the text.

        Raises:
            SoftPromptError: If settings, text, inputs and model are incompatible.
        """
        model = require_causal(model)
        inputs = None if settings.input_source is None else DistillInputs.from_settings(settings)
        validation = None if inputs is not None or settings.is_exact else read_validation_inputs(settings)
        source = settings.read_source(settings.map, settings.format)
        task = build_distill_task(settings, model, source, None if inputs is None else inputs.train)
        return cls.from_inputs(settings, model, source, task, inputs, validation)

    @classmethod
    def from_inputs(
        cls,
        settings: DistillSettings,
        model: CausalModel,
        source: SourceText,
        task: DistillableTask,
        inputs: DistillInputs | None,
        validation: ExampleDataset | None = None,
    ) -> DistillSetup:
        """Encode inputs that were read, and compute the keys and values of the text.

        Args:
            settings: Settings of the run; its sources have been read.
            model: Frozen base model.
            source: Text to distill.
            task: Task of the inputs, which follow the text.
            inputs: Inputs to train on and to validate with; None if the model writes those to train on.
            validation: Validation inputs if there are no others; None for none.

        Raises:
            SoftPromptError: If settings, text, inputs and model are incompatible.
        """
        context = Context.from_token_ids(encode_source(source, task, model), model)
        logger.info("%s: %d tokens in front of every input", source.path, context.num_tokens)
        objective = task.build_objective(model, model.shape.window - context.prefix.num_positions)
        _check_size(settings, context)
        select_initializer(settings.init, model)  # raises before inputs are written for minutes
        if inputs is None and settings.max_steps and not settings.is_exact:
            _check_study(settings, task, objective)
        encoded_inputs = _encode_splits(settings, objective, task, inputs, validation)
        digests = {"source": source.digest, **({} if inputs is None else inputs.digests)}
        if validation is not None:
            digests["validation"] = validation.digest
        return cls(settings, model, source, task, context, objective, encoded_inputs, digests)

    @property
    def needs_study(self) -> bool:
        """Whether the model writes the inputs to train on."""
        return self.settings.input_source is None and self.settings.max_steps > 0 and not self.settings.is_exact

    def create_teacher(self) -> LabelTeacher | ResponseTeacher:
        """Create the teacher: the frozen model behind the whole text."""
        if isinstance(self.objective, ClassificationObjective):
            return LabelTeacher(self.objective, self.context, self.settings.calibration)
        assert isinstance(self.objective, LanguageModelingObjective)
        settings = self.settings
        return ResponseTeacher(self.objective, self.context, settings.max_new_tokens, settings.top_logprobs)

    def compute_targets_digest(self, inputs: EncodedInputs) -> str:
        """Hash everything that the teacher's targets of inputs depend on."""
        settings = self.settings
        content = {
            "model": [self.model.fingerprint, self.model.precision],
            "context": self.context.token_ids,
            "inputs": [[e.prompt_ids, list(e.response_ids)] for e in (*inputs.train, *inputs.validation)],
            "task": self.task.model_dump(mode="json"),
            "settings": [settings.calibration, settings.max_new_tokens, settings.top_logprobs],
        }
        return "sha256:" + hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_study(settings: DistillSettings, task: DistillableTask, objective: Objective) -> None:
    """Check that the model can write inputs about a document, before it does so for minutes.

    Raises:
        TaskError: The template has several fields.
        SettingError: The document leaves no space for questions and answers.
    """
    if isinstance(task, GenerationTask):
        Template(task.template).get_single_field()
    if objective.max_length < settings.max_new_tokens + MIN_QUESTION_TOKENS:
        raise SettingError(
            f"the document leaves {objective.max_length} tokens of the window for a question and its answer, and "
            f"{MIN_QUESTION_TOKENS} + `max_new_tokens={settings.max_new_tokens}` are needed: shorten the document, or "
            "choose a smaller `max_new_tokens`"
        )


def _encode_splits(
    settings: DistillSettings,
    objective: Objective,
    task: DistillableTask,
    inputs: DistillInputs | None,
    validation: ExampleDataset | None,
) -> EncodedInputs:
    """Encode the inputs that were given: those to train on, if any, and those that select the best step.

    Args:
        settings: Settings of the run.
        objective: Objective of the task behind the whole text.
        task: Task of the inputs.
        inputs: Inputs to train on and to validate with; None if the model writes those to train on.
        validation: Validation inputs if there are no others; None for none.
    """
    if settings.is_exact:
        return EncodedInputs((), ())
    train, held_out = ((), validation or ()) if inputs is None else (inputs.train, inputs.validation)
    return EncodedInputs(
        encode_inputs(objective, task, train, settings.max_new_tokens),
        encode_inputs(objective, task, held_out, settings.max_new_tokens),
        encode_answered_inputs(objective, task, held_out),
    )


def _check_size(settings: DistillSettings, context: Context) -> None:
    if not settings.is_exact and int(settings.num_virtual_tokens) >= context.num_tokens:
        raise SettingError(
            f"`num_virtual_tokens={settings.num_virtual_tokens}`, and the text has {context.num_tokens} tokens: choose "
            "fewer, or `all`, which keeps the text's own keys and values without training"
        )
    if settings.num_virtual_tokens == 1 and not context.prefix.has_bos:
        logger.warning("the only virtual token is the attention sink, which is not trained: choose more of them")
