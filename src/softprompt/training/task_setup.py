"""Setup of the task and its data: reading, task detection, validation split, initialization and encoding."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from softprompt.data import Example, ExampleDataset, read_examples
from softprompt.errors import TaskError
from softprompt.model import CausalModel, FrozenModel, Placement
from softprompt.model.cache_folder import get_cache_folder
from softprompt.model.sqlite_tensor_store import SQLiteTensorStore
from softprompt.prompts import PromptOptions, SoftPrompt, num_virtual_tokens, uses_demonstrations
from softprompt.tasks import (
    ChatTask,
    ClassificationTask,
    ExtractiveQATask,
    FewShotContext,
    GenerationTask,
    LinearHead,
    Objective,
    Task,
    TokenClassificationTask,
)
from softprompt.tasks.compact_examples import CompactExamples
from softprompt.tasks.templates.template import Template
from softprompt.training.batch_sampler import draw_permutation
from softprompt.training.encoded_dataset import EncodedDataset, encode_examples
from softprompt.training.task_mixture import TaskMixture
from softprompt.training.tune_settings import TuneSettings
from softprompt.training.validation_sample import sample_validation_examples

logger = logging.getLogger(__name__)

VALIDATION_FRACTION = 0.1
MIN_VALIDATION_EXAMPLES, MAX_VALIDATION_EXAMPLES = 4, 1000
VALIDATION_SPLIT_STREAM, INIT_SAMPLE_STREAM = 2**40, 2**41  # far from the streams of epochs and buckets
DEFAULT_LABEL_FIELD = TuneSettings.model_fields["label_field"].default
COMMON_BOS_TOKENS = (
    "<s>",
    "<bos>",
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<|endoftext|>",
    "[CLS]",
)  # in other models
MAX_INIT_EXAMPLES = 20_000  # examples that initialization selects from; they are held in memory for it


def load_examples(settings: TuneSettings) -> dict[str, ExampleDataset]:
    """Load the examples of `data`, and of `validation` if it is set, in the same format.

    Raises:
        DataError, SettingError, HubUnreachable: If the data cannot be read.
    """
    data = read_examples(settings.data, settings.map, settings.format)
    logger.info("%s", data.summary)
    if settings.validation is None:
        return {"data": data}
    return {
        "data": data,
        "validation": read_examples(settings.validation, settings.map, data.mapping.format.name),
    }


def build_task(settings: TuneSettings, examples: ExampleDataset) -> Task:
    """Build the task that the settings name or the examples' format implies, complete with its labels.

    Raises:
        TaskError, RecordError: If settings and examples do not fit together.
    """
    data_format = examples.mapping.format
    kind = settings.task or _detect_task_kind(settings, data_format.task_kind, examples[0])
    template = settings.template or (data_format.template if data_format.task_kind == kind else None)
    task = TASK_BUILDERS[kind](settings, {} if template is None else {"template": template})
    _check_fields(task, examples[0])
    return task.prepare(examples)


def _build_classification_task(settings: TuneSettings, template: Mapping[str, Any]) -> Task:
    return ClassificationTask(
        labels=settings.labels or (), words=settings.verbalizer, label_field=settings.label_field, **template
    )


def _build_generation_task(settings: TuneSettings, template: Mapping[str, Any]) -> Task:
    _check_no_labels(settings, "a generation")
    return GenerationTask(response_field=settings.response_field, **template)


def _build_chat_task(settings: TuneSettings, template: Mapping[str, Any]) -> Task:
    _check_no_labels(settings, "a chat")
    if template:
        raise TaskError("a chat uses the model's chat template: leave `template` out")
    return ChatTask()


def _build_tagging_task(settings: TuneSettings, template: Mapping[str, Any]) -> Task:
    if settings.verbalizer:
        raise TaskError(
            "`verbalizer` is for the classification of whole texts, and a linear head predicts tags: leave it out"
        )
    return TokenClassificationTask(labels=settings.labels or (), **template)


def _build_extraction_task(settings: TuneSettings, template: Mapping[str, Any]) -> Task:
    _check_no_labels(settings, "an extraction")
    return ExtractiveQATask(**template)


TASK_BUILDERS: dict[str, Callable[[TuneSettings, Mapping[str, Any]], Task]] = {
    "classification": _build_classification_task,
    "generation": _build_generation_task,
    "chat": _build_chat_task,
    "token-classification": _build_tagging_task,
    "extraction": _build_extraction_task,
}


def _check_no_labels(settings: TuneSettings, task_name: str) -> None:
    if settings.labels or settings.verbalizer:
        raise TaskError(
            f"`labels` and `verbalizer` are for classification, and this task is {task_name}: leave them out"
        )


def _detect_task_kind(settings: TuneSettings, format_task: str | None, example: Example) -> str:
    """Detect the kind of task from the settings' labels and fields, or else from the format."""
    if format_task == "token-classification":  # in this format `labels` are tags
        return format_task
    if settings.labels or settings.label_field in example.fields.keys() - {DEFAULT_LABEL_FIELD}:
        return "classification"
    if format_task is not None and settings.label_field == DEFAULT_LABEL_FIELD:
        return format_task
    if settings.response_field in example.fields:
        return "generation"
    raise TaskError(
        f"{example.location} has neither a field {settings.label_field!r} nor {settings.response_field!r} "
        f"(its fields are {', '.join(example.fields)}): pass `map`, or `task` with `label_field` or `response_field`"
    )


def _check_fields(task: Task, example: Example) -> None:
    if unknown := [field for field in _get_template_fields(task.template) if field not in example.fields]:
        raise TaskError(
            f"the template has a field {{{unknown[0]}}}, but {example.location} has the fields "
            f"{', '.join(example.fields)}: pass another `template`, or `map={{'{unknown[0]}': 'FIELD'}}`"
        )


@lru_cache(maxsize=8)
def _get_template_fields(template: str) -> tuple[str, ...]:
    return Template(template).field_names


def resolve_prompt_options(settings: TuneSettings, task: Task) -> PromptOptions:
    """Return the prompt options of the settings, adapted to the task and to markers in its template.

    Raises:
        TaskError: If the settings fit neither the template's markers nor the task.
    """
    options = _with_linear_head(_build_prompt_options(settings), task)
    markers = Template(task.template).num_virtual_tokens
    if not markers:
        if options.placement is Placement.IN_TEMPLATE:
            raise TaskError(
                '`placement="in-template"`: the template has no markers: add [P1], [P2], … for the virtual tokens'
            )
        return options
    if options.num_virtual_tokens not in (None, markers):
        raise TaskError(
            f"the template has {markers} markers for {options.num_virtual_tokens} virtual tokens: leave "
            "`num_virtual_tokens` out, or use as many markers"
        )
    if options.placement not in (Placement.BEFORE, Placement.IN_TEMPLATE):
        raise TaskError(f'`placement="{options.placement}"`: the template\'s markers set the positions, leave it out')
    return replace(options, num_virtual_tokens=markers, placement=Placement.IN_TEMPLATE)


def _build_prompt_options(settings: TuneSettings) -> PromptOptions:
    """Build the options that define the prompt from the settings of the same names."""
    names = {field.name for field in fields(PromptOptions)}
    return PromptOptions(**settings.model_dump(include=names))


def _with_linear_head(options: PromptOptions, task: Task) -> PromptOptions:
    """Return the options with a linear head if the task predicts labels of tokens inside the text."""
    if not isinstance(task, TokenClassificationTask | ExtractiveQATask):
        return options
    if options.head not in (None, "linear"):
        raise TaskError(f"`head={options.head!r}`: labels of tokens inside a text need a linear head, leave it out")
    if options.placement is Placement.AFTER_TEXT:
        raise TaskError(
            '`placement="after-text"`: tokens inside the text do not see what follows them: choose another placement'
        )
    return replace(options, head="linear")


def split_train_validation(
    settings: TuneSettings, data: Mapping[str, ExampleDataset], task: Task
) -> tuple[ExampleDataset, ExampleDataset]:
    """Split training and validation examples. Without validation data, a tenth of the data is held out.

    Raises:
        TaskError, RecordError: If a validation example does not fit the task.
    """
    examples = data["data"]
    if "validation" in data:
        for example in data["validation"]:
            _check_fields(task, example)
        return examples, _limit_validation(settings, task, data["validation"])
    count = min(round(len(examples) * VALIDATION_FRACTION), MAX_VALIDATION_EXAMPLES)
    if count < MIN_VALIDATION_EXAMPLES:
        logger.warning(
            "no validation examples, and too few examples to hold some out: the prompt of the last step is kept"
        )
        return examples, examples[:0]
    logger.info("no `validation`: %d of %d examples are held out to select the best step", count, len(examples))
    order = draw_permutation(len(examples), settings.seed, stream=VALIDATION_SPLIT_STREAM)
    held_out = examples.select(sorted(order[:count]))
    return examples.select(sorted(order[count:])), _limit_validation(settings, task, held_out)


def _limit_validation(settings: TuneSettings, task: Task, validation_examples: ExampleDataset) -> ExampleDataset:
    """Limit validation examples to the settings' maximum number."""
    return sample_validation_examples(task, validation_examples, settings.max_eval_samples, settings.task_field)


def sample_init_examples(settings: TuneSettings, examples: ExampleDataset) -> list[Example]:
    """Return the examples that initialization selects from: all, or a sample of `MAX_INIT_EXAMPLES`."""
    if len(examples) <= MAX_INIT_EXAMPLES:
        return list(examples)
    order = draw_permutation(len(examples), settings.seed, stream=INIT_SAMPLE_STREAM)
    return list(examples.select(sorted(order[:MAX_INIT_EXAMPLES])))


def build_init_source(
    settings: TuneSettings, options: PromptOptions, task: Task, model: FrozenModel, examples: ExampleDataset
) -> str | FewShotContext:
    """Build what the virtual tokens are initialized from, depending on the method: a text, or examples with answers.

    Raises:
        SettingError: If method and model are incompatible, or no example fits.
        TaskError: If the examples of the task do not end in an answer.
    """
    max_tokens = num_virtual_tokens(options, model)
    if not uses_demonstrations(options, model):
        return task.build_init_text(model, sample_init_examples(settings, examples), max_tokens)
    if not isinstance(task, ClassificationTask | GenerationTask):
        raise TaskError(
            f"{options.method} starts from examples that end in an answer, and examples of {task.kind} do not: "
            'choose another `method`, or `init="text:words of your own"`'
        )
    return task.select_demonstrations(model, sample_init_examples(settings, examples), max_tokens)


def bind_task(task: Task, model: FrozenModel, prompt: SoftPrompt) -> Objective:
    """Build the objective of a task on a model, with the length that the prompt leaves in the context window."""
    _warn_about_special_tokens(task, model)
    with torch.no_grad():
        num_positions = model.compile(prompt()).num_positions
    return task.build_objective(model, model.shape.window - num_positions, prompt.head)


def _warn_about_special_tokens(task: Task, model: FrozenModel) -> None:
    """Warn about special tokens in the template that the model adds itself, or that belong to other models."""
    template = Template(task.template)
    if doubled := template.find_duplicate_special_tokens(model):
        logger.warning(
            "the template contains %s, which %s adds to every text: it is added only once. Remove it from the template",
            " and ".join(doubled),
            model.name,
        )
    foreign = [
        token
        for token in COMMON_BOS_TOKENS
        if template.text.startswith(token) and token not in model.prompt_tokenizer.special_token_ids
    ]
    if foreign:
        logger.warning(
            "the template begins with %s, which is not a special token of %s: it is tokenized as ordinary text",
            foreign[0],
            model.name,
        )


def with_hidden_state_cache(model: FrozenModel) -> FrozenModel:
    """Return the model with a cache of hidden states below the trained layers, shared by all runs of this user."""
    assert isinstance(model, CausalModel)  # only causal models train a prefix in top layers alone
    return model.with_hidden_state_cache(_open_hidden_state_store(get_cache_folder() / "trunks.sqlite"))


@lru_cache
def _open_hidden_state_store(path: Path) -> SQLiteTensorStore:
    """Open a store once for all runs of this process."""
    return SQLiteTensorStore(path)


def bind_without_prompt(task: Task, model: FrozenModel) -> Objective:
    """Build the objective of a task without a prompt, to inspect examples; a head is untrained."""
    return task.build_objective(model, model.shape.window, create_untrained_head(task, model))


def create_untrained_head(task: Task, model: FrozenModel) -> LinearHead | None:
    """Create an untrained head for tasks that label tokens inside the text; None for other tasks."""
    if not isinstance(task, TokenClassificationTask | ExtractiveQATask):
        return None
    return LinearHead(len(task.labels), model.shape.hidden_size).to(model.device)


def drop_truncated_targets(dataset: EncodedDataset, examples: ExampleDataset) -> EncodedDataset:
    """Drop the examples whose target was truncated, and log how many.

    Raises:
        TaskError: If the target of every example was truncated.
    """
    if not dataset.truncated_target_indices:
        return dataset
    if len(dataset.truncated_target_indices) == len(dataset):
        raise TaskError(
            "no example has its answer within the model's context window: choose a longer window or shorter texts"
        )
    logger.warning(
        "%d of %d training examples are dropped: their answer was truncated",
        len(dataset.truncated_target_indices),
        len(dataset),
    )
    dropped = set(dataset.truncated_target_indices)
    kept = [i for i in range(len(dataset)) if i not in dropped]
    return replace(
        dataset, examples=examples.select(kept), lengths=[dataset.lengths[i] for i in kept], truncated_target_indices=()
    )


def build_task_mixture(settings: TuneSettings, examples: ExampleDataset) -> TaskMixture | None:
    """Build the mixture of tasks if the settings name a task field.

    Raises:
        RecordError, TaskError, SettingError: If the field does not define several tasks.
    """
    return None if settings.task_field is None else TaskMixture.from_examples(settings.task_field, examples)


def encode_dataset(
    objective: Objective, examples: Sequence[Example], split_name: str, mixture: TaskMixture | None = None
) -> EncodedDataset:
    """Build a dataset that encodes examples on access, and warn about truncated texts."""
    dataset = EncodedDataset.from_examples(objective, examples, mixture)
    _warn_truncated(dataset.num_truncated, len(dataset), split_name)
    return dataset


def encode_compact_examples(
    objective: Objective, examples: Sequence[Example], split_name: str, mixture: TaskMixture | None = None
) -> CompactExamples:
    """Encode examples once, compactly, for repeated evaluation, and warn about truncated texts."""
    encoded = CompactExamples(encode_examples(objective, examples, mixture))
    _warn_truncated(encoded.num_truncated, len(encoded), split_name)
    return encoded


def _warn_truncated(count: int, total: int, split_name: str) -> None:
    if count:
        logger.warning("%d of %d %s texts were truncated to the model's context window", count, total, split_name)
