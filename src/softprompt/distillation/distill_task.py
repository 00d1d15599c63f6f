"""The task of a distilled prompt: from the settings, a few-shot prompt, or the model's chat template."""

from __future__ import annotations

from collections.abc import Sequence

from softprompt.data import Example
from softprompt.distillation.distill_settings import DistillSettings
from softprompt.distillation.source_text import SourceKind, SourceText
from softprompt.distillation.study_prompts import select_study_prompts
from softprompt.errors import TaskError
from softprompt.model import CausalModel
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask, Task
from softprompt.tasks.chat_tokenizer import ChatTokenizer
from softprompt.tasks.templates.template import Template
from softprompt.training.task_builder import build_task, check_no_labels

DistillableTask = ClassificationTask | GenerationTask | ChatTask

DEFAULT_FIELD_NAMES = Template(GenerationTask().template).field_names


def build_distill_task(
    settings: DistillSettings, model: CausalModel, source: SourceText, inputs: Sequence[Example] | None
) -> DistillableTask:
    """Build the task of a run.

    Examples of a few-shot prompt define the task as in `tune`. Labels make a classification and a template a
    generation. Otherwise a model with a chat template gets a chat, and other models a generation.

    Args:
        settings: Settings of the run.
        model: Base model.
        source: Text to distill.
        inputs: Inputs of the teacher, if there are any.

    Raises:
        TaskError: If the settings do not fit together, or the task cannot be distilled.
        RecordError: If an example has no answer.
    """
    _check_no_markers(settings.template)
    if source.demonstrations is not None:
        return _require_answerable(build_task(settings, source.demonstrations))
    kind = settings.task or _detect_task_kind(settings, model, inputs)
    template = {} if settings.template is None else {"template": settings.template}
    match kind:
        case "classification":
            if source.kind is SourceKind.DOCUMENT and inputs is None:
                raise TaskError("the model cannot write inputs of a classification: pass them as `data`")
            task = ClassificationTask(
                labels=settings.labels or (), words=settings.verbalizer, label_field=settings.label_field, **template
            ).strip_labels()
            if not task.labels:
                raise TaskError("a classification needs its labels: pass `labels`")
            task.check_labels(set(task.labels))
            return task
        case "generation":
            check_no_labels(settings, "a generation")
            if source.kind is SourceKind.DOCUMENT and not template:
                template = {"template": select_study_prompts(source.text).question_template}
            return GenerationTask(response_field=settings.response_field, **template)
        case "chat":
            check_no_labels(settings, "a chat")
            return _build_chat_task(settings, model)
    raise TaskError(f"`task={kind!r}` cannot be distilled: choose classification, generation or chat")


def _detect_task_kind(settings: DistillSettings, model: CausalModel, inputs: Sequence[Example] | None) -> str:
    if settings.labels:
        return "classification"
    has_messages = inputs is not None and "messages" in inputs[0].fields
    if has_messages or (settings.template is None and model.tokenizer.chat_template is not None):
        return "chat"
    return "generation"


def _build_chat_task(settings: DistillSettings, model: CausalModel) -> ChatTask:
    """Build a chat whose system message is the distilled text, if the chat template has a place for one."""
    if settings.template is not None:
        raise TaskError('a chat uses the model\'s chat template: leave `template` out, or pass `task="generation"`')
    return _add_system_message(ChatTask(), model)


def build_task_after_text(task: Task, model: CausalModel, source: SourceText) -> DistillableTask:
    """Return a task whose inputs follow a text, which in a chat is the system message if the template has a place.

    Args:
        task: Task of the inputs without the text.
        model: Base model.
        source: Text in front of the inputs.

    Raises:
        TaskError: The inputs of the task cannot follow the text.
    """
    _check_no_markers(task.template)
    if source.demonstrations is not None:
        return _require_answerable(task)
    if isinstance(task, ChatTask):
        return _add_system_message(task, model)
    if isinstance(task, ClassificationTask | GenerationTask):
        return task
    raise TaskError(f"a text cannot precede the inputs of {task.kind}: choose classification, generation or chat")


def _check_no_markers(template: str | None) -> None:
    if template is not None and Template(template).num_virtual_tokens:
        raise TaskError("the text precedes the template: remove the markers of virtual tokens, [P1] and so on")


def _add_system_message(task: ChatTask, model: CausalModel) -> ChatTask:
    """Let the text be the system message of a chat, if the model's chat template has a place for one."""
    task.build_objective(model, model.shape.window)  # raises if the model has no chat template
    has_place = ChatTokenizer(model).tokenize_system_message("") is not None
    return task.model_copy(update={"system_message": "prompt"}) if has_place else task


def _require_answerable(task: Task) -> ClassificationTask | GenerationTask:
    """Require a task whose examples end in an answer, as those of a few-shot prompt do."""
    if isinstance(task, ClassificationTask | GenerationTask):
        return task
    raise TaskError(
        f"examples of {task.kind} make no few-shot prompt: pass examples with the fields 'input' and 'output', or with "
        "labels"
    )


def find_input_text(task: DistillableTask, example: Example) -> str | None:
    """Return the whole text of an input: the user's message of a chat, or what a response follows.

    Returns:
        The text; None if the example has messages, or the template has other fields than `input`.

    Raises:
        TaskError: If the example has several fields with text, and none has a usual name.
        RecordError: If the field does not contain text.
    """
    if isinstance(task, ClassificationTask):
        return None
    if isinstance(task, GenerationTask) and Template(task.template).field_names != DEFAULT_FIELD_NAMES:
        return None
    if isinstance(task, ChatTask) and task.messages_field in example.fields:
        return None
    for name in ("input", "text", "question", "prompt", "instruction"):
        if example.fields.get(name) is not None:
            return example.get_text(name)
    names = [name for name, value in example.fields.items() if isinstance(value, str)]
    if len(names) == 1:
        return example.get_text(names[0])
    raise TaskError(
        f"{example.location} has no field `input`, `text`, `question`, `prompt` or `messages` "
        f"(its fields are {', '.join(example.fields)}): pass `map`, or a `template`"
    )
