"""The inputs of a distillation: read without answers, split, and encoded for the teacher and the student alike."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from softprompt.data import Example, ExampleDataset, read_examples
from softprompt.data.formats.chat_messages import ASSISTANT, CONTENT, ROLE, USER
from softprompt.distillation.distill_settings import DistillSettings
from softprompt.distillation.distill_task import DistillableTask, find_input_text
from softprompt.errors import RecordError
from softprompt.tasks import ChatTask, ClassificationTask, EncodedExample, GenerationTask, LabelTarget, Objective
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from softprompt.tasks.templates.template import Template
from softprompt.training.example_splits import MAX_VALIDATION_EXAMPLES, MIN_VALIDATION_EXAMPLES, VALIDATION_FRACTION
from softprompt.training.random_streams import RandomStream, draw_permutation

logger = logging.getLogger(__name__)

ANSWER_FIELDS = ("output", "answer", "response")
UNLABELED_FORMAT = "fields"  # the record format that requires no answers


@dataclass(frozen=True)
class EncodedInputs:
    """Encoded inputs of a run, the same for the teacher and the student.

    Attributes:
        train: Inputs to train on.
        validation: Inputs that select the best step; empty if there are too few.
        answered: Those of the validation inputs whose right response is known, with that response.
    """

    train: Sequence[EncodedExample]
    validation: Sequence[EncodedExample]
    answered: Sequence[EncodedExample] = ()


@dataclass(frozen=True)
class DistillInputs:
    """Inputs of a run.

    Attributes:
        train: Inputs to train on.
        validation: Inputs that select the best step; empty if there are too few.
        digests: Hash of the content of each data source, by the name of its setting.
    """

    train: Sequence[Example]
    validation: Sequence[Example]
    digests: dict[str, str]

    @classmethod
    def from_settings(cls, settings: DistillSettings) -> DistillInputs:
        """Read the inputs. Without `validation`, a tenth of `data` is held out, except for the exact form.

        Raises:
            DataError, SettingError, HubUnreachable: If the data cannot be read.
        """
        assert settings.input_source is not None
        data = read_inputs(settings.input_source, settings)
        logger.info("%s", data.summary)
        if settings.is_exact:
            return cls(data, data[:0], {"data": data.digest})
        if (validation := read_validation_inputs(settings)) is not None:
            if validation.digest == data.digest:
                logger.warning("`validation` holds the same inputs as `data`: its metrics will be too good")
            digests = {"data": data.digest, "validation": validation.digest}
            return cls(data, validation, digests)
        count = min(round(len(data) * VALIDATION_FRACTION), settings.max_eval_samples or MAX_VALIDATION_EXAMPLES)
        if count < MIN_VALIDATION_EXAMPLES:
            logger.warning("too few inputs to hold some out: the prompt of the last step is kept, and not measured")
            return cls(data, data[:0], {"data": data.digest})
        order = draw_permutation(len(data), settings.seed, RandomStream.VALIDATION_SPLIT)
        train, held_out = data.select(sorted(order[count:])), data.select(sorted(order[:count]))
        logger.info("no `validation`: %d of %d inputs are held out to select the best step", count, len(data))
        return cls(train, held_out, {"data": data.digest})


def read_inputs(source: str, settings: DistillSettings) -> ExampleDataset:
    """Read inputs with or without answers.

    Raises:
        DataError, SettingError, HubUnreachable: If they cannot be read.
    """
    return read_examples(source, settings.map, settings.format or UNLABELED_FORMAT)


def read_validation_inputs(settings: DistillSettings) -> ExampleDataset | None:
    """Read the validation inputs, at most `max_eval_samples` of them; None if there are none.

    Raises:
        DataError, SettingError, HubUnreachable: If they cannot be read.
    """
    if settings.validation is None:
        return None
    inputs = read_inputs(settings.validation, settings)
    return inputs[: settings.max_eval_samples] if settings.max_eval_samples else inputs


def encode_inputs(
    objective: Objective, task: DistillableTask, inputs: Iterable[Example], max_new_tokens: int
) -> list[EncodedExample]:
    """Encode inputs without answers. A known label is kept for measuring, and not trained on.

    Args:
        objective: Objective of the task on the teacher's model, which leaves space for the whole text.
        task: Task of the inputs.
        inputs: Inputs to encode.
        max_new_tokens: Space for the teacher's response, in tokens.

    Raises:
        RecordError: If an input does not fit the task.
        TaskError: If it is not clear which field is the user's message.
    """
    examples = list(inputs)
    encoded = [_encode_input(objective, task, example, max_new_tokens) for example in examples]
    _warn_about_labels(task, examples)
    if num_truncated := sum(example.is_truncated for example in encoded):
        logger.warning(
            "%d of %d inputs were truncated: the text to distill leaves them no more space in the context window",
            num_truncated,
            len(encoded),
        )
    return encoded


def encode_answered_inputs(
    objective: Objective, task: DistillableTask, inputs: Iterable[Example]
) -> list[EncodedExample]:
    """Encode the inputs that have a right response, with that response. Empty for a classification.

    Args:
        objective: Objective of the task on the teacher's model, which leaves space for the whole text.
        task: Task of the inputs.
        inputs: Inputs to encode.

    Raises:
        RecordError: If a response leaves no space for the input.
    """
    if isinstance(task, ClassificationTask):
        return []
    answered = []
    for example in inputs:
        answer = _find_answer(task, example)
        text = find_input_text(task, example)
        if text is not None and answer is not None:
            answered.append(objective.encode_example(build_answered_example(task, text, answer)))
        elif answer is not None:
            answered.append(objective.encode_example(example))
    return answered


def build_answered_example(task: DistillableTask, text: str, answer: str) -> Example:
    """Build an example of a generation or chat from the text of an input and its right response."""
    if isinstance(task, ChatTask):
        messages = [{ROLE: USER, CONTENT: text}, {ROLE: ASSISTANT, CONTENT: answer}]
        return Example({task.messages_field: messages})
    assert isinstance(task, GenerationTask)
    return Example({Template(task.template).get_single_field(): text, task.response_field: answer})


def _find_answer(task: ChatTask | GenerationTask, example: Example) -> str | None:
    """Return the right response to an input, if it has one that is not blank."""
    if isinstance(task, ChatTask) and task.messages_field in example.fields:
        return task.split_last_answer(example)[1] if task.has_answer(example) else None
    response_field = task.response_field if isinstance(task, GenerationTask) else ANSWER_FIELDS[0]
    for field in (response_field, *ANSWER_FIELDS):
        answer = example.fields.get(field)
        if isinstance(answer, str) and answer.strip():
            return answer
    return None


def _encode_input(objective: Objective, task: DistillableTask, example: Example, max_new_tokens: int) -> EncodedExample:
    if isinstance(objective, ClassificationObjective):
        encoded = objective.encode_unlabeled(example)
        label = _find_label(objective.task, example)
        return encoded if label is None else replace(encoded, supervision=LabelTarget(label))
    assert isinstance(objective, LanguageModelingObjective)
    text = find_input_text(task, example)
    if text is not None:
        example = replace(objective.build_example(text), location=example.location)
    return objective.encode_prompt(example, max_new_tokens)


def _warn_about_labels(task: DistillableTask, inputs: Sequence[Example]) -> None:
    """Warn if inputs of a classification have labels that the task does not have."""
    if not isinstance(task, ClassificationTask):
        return
    unknown = [example for example in inputs if _has_label(task, example) and _find_label(task, example) is None]
    if unknown:
        logger.warning(
            "the labels of %d of %d inputs are ignored, because the task does not have them: %r at %s, for example",
            len(unknown),
            len(inputs),
            unknown[0].fields[task.label_field],
            unknown[0].location,
        )


def _has_label(task: ClassificationTask, example: Example) -> bool:
    return example.fields.get(task.label_field) not in (None, "")


def _find_label(task: ClassificationTask, example: Example) -> int | None:
    """Return the index of an input's label, if it has one of the task's."""
    if not _has_label(task, example):
        return None
    try:
        return task.get_label_index(example)
    except RecordError:
        return None
