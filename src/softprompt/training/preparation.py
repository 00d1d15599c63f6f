"""From what the settings name to rows: which task the data is, which examples choose the best step, all in tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from softprompt.data import Example, Examples, read_examples
from softprompt.errors import TaskError
from softprompt.model import CausalModel, FrozenModel, Placement
from softprompt.model.cache_folder import cache_folder
from softprompt.model.states_file import StatesFile
from softprompt.prompts import PromptOptions, SoftPrompt, num_virtual_tokens, shows_examples
from softprompt.tasks import (
    ChatTask,
    ClassificationTask,
    Demonstrations,
    ExtractionTask,
    GenerationTask,
    LinearHead,
    Objective,
    TaggingTask,
    Task,
)
from softprompt.tasks.compact_rows import CompactRows
from softprompt.tasks.template import Template
from softprompt.training.mixture import Mixture
from softprompt.training.order import shuffled
from softprompt.training.rows import EncodedRows, encode_rows
from softprompt.training.settings import TuneSettings
from softprompt.training.validation_sample import sample_validation

logger = logging.getLogger(__name__)

HELD_OUT = 0.1
FEWEST_HELD_OUT, MOST_HELD_OUT = 4, 1000
HELD_OUT_STREAM, SHOWN_STREAM = 2**40, 2**41  # far from the epochs' and pools' streams
LABEL = TuneSettings.model_fields["label_field"].default
BEGINNINGS = ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>", "[CLS]")  # in other models
SHOWN_AMONG = 20_000  # examples that a start is looked for among, which are in memory for it


def read(settings: TuneSettings) -> dict[str, Examples]:
    """The examples of `data`, and those of `validation` if it is named, in the same format.

    Raises:
        DataError, SettingError, NoNetwork: they cannot be read.
    """
    data = read_examples(settings.data, settings.map, settings.format)
    logger.info("%s", data.summary)
    if settings.validation is None:
        return {"data": data}
    return {
        "data": data,
        "validation": read_examples(settings.validation, settings.map, data.meaning.format.name),
    }


def task_for(settings: TuneSettings, examples: Examples) -> Task:
    """The task that the settings name, or that the examples' format is for, complete with its labels.

    Raises:
        TaskError, RowError: settings and examples do not fit.
    """
    form = examples.meaning.format
    kind = settings.task or _detected(settings, form.task, examples[0])
    template = settings.template or (form.template if form.task == kind else None)
    task = TASKS[kind](settings, {} if template is None else {"template": template})
    _check_fields(task, examples[0])
    return task.prepared(examples)


def _classification(settings: TuneSettings, template: Mapping[str, Any]) -> Task:
    return ClassificationTask(
        labels=settings.labels or (), words=settings.verbalizer, label_field=settings.label_field, **template
    )


def _generation(settings: TuneSettings, template: Mapping[str, Any]) -> Task:
    _check_no_labels(settings, "a generation")
    return GenerationTask(response_field=settings.response_field, **template)


def _chat(settings: TuneSettings, template: Mapping[str, Any]) -> Task:
    _check_no_labels(settings, "a chat")
    if template:
        raise TaskError("a chat is written by the model's own template: leave `template` out")
    return ChatTask()


def _tagging(settings: TuneSettings, template: Mapping[str, Any]) -> Task:
    if settings.verbalizer:
        raise TaskError(
            "`verbalizer` is for a classification of whole texts, and a head reads the tags of words: leave it out"
        )
    return TaggingTask(labels=settings.labels or (), **template)


def _extraction(settings: TuneSettings, template: Mapping[str, Any]) -> Task:
    _check_no_labels(settings, "an extraction")
    return ExtractionTask(**template)


TASKS: dict[str, Callable[[TuneSettings, Mapping[str, Any]], Task]] = {
    "classification": _classification,
    "generation": _generation,
    "chat": _chat,
    "token-classification": _tagging,
    "extraction": _extraction,
}


def _check_no_labels(settings: TuneSettings, what: str) -> None:
    if settings.labels or settings.verbalizer:
        raise TaskError(f"`labels` and `verbalizer` are for a classification, and this is {what}: leave them out")


def _detected(settings: TuneSettings, suited: str | None, example: Example) -> str:
    """The kind of task that the settings' labels and fields are for, or else that the format is for."""
    if suited == "token-classification":  # its labels are tags
        return suited
    if settings.labels or settings.label_field in example.fields.keys() - {LABEL}:
        return "classification"
    if suited is not None and settings.label_field == LABEL:
        return suited
    if settings.response_field in example.fields:
        return "generation"
    raise TaskError(
        f"{example.where} has neither {settings.label_field!r} nor {settings.response_field!r} "
        f"(its fields are {', '.join(example.fields)}): give `map`, or `task`, and `label_field` or `response_field`"
    )


def _check_fields(task: Task, example: Example) -> None:
    if unknown := [field for field in _fields_of(task.template) if field not in example.fields]:
        raise TaskError(
            f"the template asks for {{{unknown[0]}}}, but {example.where} has the fields "
            f"{', '.join(example.fields)}: give another `template`, or `map={{'{unknown[0]}': 'FIELD'}}`"
        )


@lru_cache(maxsize=8)
def _fields_of(template: str) -> tuple[str, ...]:
    return Template(template).fields


def placed(settings: TuneSettings, task: Task) -> PromptOptions:
    """How the prompt is made: as the settings say, and where the template's markers are, if it has some.

    Raises:
        TaskError: settings and markers do not fit together, or settings and task.
    """
    options = _headed(settings.prompt_options(), task)
    markers = Template(task.template).num_virtual_tokens
    if not markers:
        if options.placement is Placement.IN_TEMPLATE:
            raise TaskError('`placement="in-template"`: the template has no marker [P1] to say where')
        return options
    if options.num_virtual_tokens not in (None, markers):
        raise TaskError(f"the template has {markers} markers for {options.num_virtual_tokens} virtual tokens")
    if options.placement not in (Placement.BEFORE, Placement.IN_TEMPLATE):
        raise TaskError(f'`placement="{options.placement}"`: the template\'s markers say where, leave it out')
    return replace(options, num_virtual_tokens=markers, placement=Placement.IN_TEMPLATE)


def _headed(options: PromptOptions, task: Task) -> PromptOptions:
    """The options with a trained head, where the task is read inside the text: no word of the model's says a tag."""
    if not isinstance(task, TaggingTask | ExtractionTask):
        return options
    if options.head not in (None, "linear"):
        raise TaskError(f"`head={options.head!r}`: tokens inside a text are read by a linear head alone, leave it out")
    if options.placement is Placement.AFTER_TEXT:
        raise TaskError('`placement="after-text"`: what is read inside the text never sees what stands behind it')
    return replace(options, head="linear")


def split(settings: TuneSettings, data: Mapping[str, Examples], task: Task) -> tuple[Examples, Examples]:
    """Training and validation examples; without a validation file, a tenth of the data is held out.

    Raises:
        TaskError, RowError: a validation example does not fit the task.
    """
    examples = data["data"]
    if "validation" in data:
        for example in data["validation"]:
            _check_fields(task, example)
        return examples, _limited(settings, task, data["validation"])
    count = min(round(len(examples) * HELD_OUT), MOST_HELD_OUT)
    if count < FEWEST_HELD_OUT:
        logger.warning("no validation examples, and too few to hold some out: the last step is kept, good or bad")
        return examples, examples[:0]
    logger.info("no `validation`: %d of %d examples are held out to choose the best step", count, len(examples))
    order = shuffled(len(examples), settings.seed, stream=HELD_OUT_STREAM)
    held_out = examples.chosen(sorted(order[:count]))
    return examples.chosen(sorted(order[count:])), _limited(settings, task, held_out)


def _limited(settings: TuneSettings, task: Task, held_out: Examples) -> Examples:
    """As many of the validation examples as the settings have measured."""
    return sample_validation(task, held_out, settings.validation_rows, settings.task_field)


def shown(settings: TuneSettings, examples: Examples) -> list[Example]:
    """The examples that the virtual tokens' start is looked for among: all, or as many drawn as fit in memory."""
    if len(examples) <= SHOWN_AMONG:
        return list(examples)
    order = shuffled(len(examples), settings.seed, stream=SHOWN_STREAM)
    return list(examples.chosen(sorted(order[:SHOWN_AMONG])))


def opening(
    settings: TuneSettings, options: PromptOptions, task: Task, model: FrozenModel, examples: Examples
) -> str | Demonstrations:
    """What the virtual tokens say at first, as their method wants it: a text, or examples with their answers.

    Raises:
        SettingError: method and model do not go together, or not one example fits.
        TaskError: the task has no examples that end in an answer.
    """
    room = num_virtual_tokens(options, model)
    if not shows_examples(options, model):
        return task.start_text(model, shown(settings, examples), room)
    if not isinstance(task, ClassificationTask | GenerationTask):
        raise TaskError(
            f"{options.method} starts from examples that each end in an answer, and those of a {task.kind} do not: "
            'choose another `method`, or `init="text:words of your own"`'
        )
    return task.demonstrations(model, shown(settings, examples), room)


def bind(task: Task, model: FrozenModel, prompt: SoftPrompt) -> Objective:
    """The task on a model, with the room that the prompt leaves in the window."""
    _note_special_tokens(task, model)
    with torch.no_grad():
        positions = model.compile(prompt()).num_positions
    return task.bind(model, model.shape.window - positions, prompt.head)


def _note_special_tokens(task: Task, model: FrozenModel) -> None:
    """Note special tokens in the template that the model adds itself, and those of other models."""
    template = Template(task.template)
    if doubled := template.doubled(model):
        logger.warning(
            "the template writes %s, which %s puts around every text: it stands there once. Better leave it out",
            " and ".join(doubled),
            model.name,
        )
    foreign = [token for token in BEGINNINGS if template.text.startswith(token) and token not in model.special_tokens]
    if foreign:
        logger.warning(
            "the template begins with %s, which is no special token of %s: it is read as ordinary text",
            foreign[0],
            model.name,
        )


def remembering(model: FrozenModel) -> FrozenModel:
    """The model with a memory of what lies below the layers that train, shared by all runs of this user."""
    assert isinstance(model, CausalModel)  # of no other the top layers of a prefix train alone
    return model.remembering(_states_file(cache_folder() / "trunks.sqlite"))


@lru_cache
def _states_file(path: Path) -> StatesFile:
    """One for all runs of this process."""
    return StatesFile(path)


def bare(task: Task, model: FrozenModel) -> Objective:
    """The task on a model without a prompt, to look at rows: a head it needs has learnt nothing."""
    return task.bind(model, model.shape.window, head_of(task, model))


def head_of(task: Task, model: FrozenModel) -> LinearHead | None:
    """A head that has learnt nothing, where the task is read inside the text; None where the model's words answer."""
    if not isinstance(task, TaggingTask | ExtractionTask):
        return None
    return LinearHead(len(task.labels), model.shape.hidden_size).to(model.device)


def learnable(rows: EncodedRows, examples: Examples) -> EncodedRows:
    """The rows in which there is something to learn: not those whose answer was cut away, and it is said how many.

    Raises:
        TaskError: it was in all of them.
    """
    if not rows.lost:
        return rows
    if len(rows.lost) == len(rows):
        raise TaskError("no answer stands in what fits the model's window: choose a longer window or shorter texts")
    logger.warning("%d of %d training rows are left out: their answer was cut away", len(rows.lost), len(rows))
    lost = set(rows.lost)
    kept = [i for i in range(len(rows)) if i not in lost]
    return replace(rows, examples=examples.chosen(kept), lengths=[rows.lengths[i] for i in kept], lost=())


def mixed(settings: TuneSettings, examples: Examples) -> Mixture | None:
    """The tasks that are learnt together, where the settings name a field that tells them apart.

    Raises:
        RowError, TaskError, SettingError: the field does not tell them.
    """
    return None if settings.task_field is None else Mixture.of(settings.task_field, examples)


def encode(objective: Objective, examples: Sequence[Example], name: str, mixture: Mixture | None = None) -> EncodedRows:
    """Examples in tokens, whenever they are needed; says how many texts were cut."""
    rows = EncodedRows.of(objective, examples, mixture)
    _note_cut(rows.cut, len(rows), name)
    return rows


def encode_compactly(
    objective: Objective, examples: Sequence[Example], name: str, mixture: Mixture | None = None
) -> CompactRows:
    """Examples in tokens once and for all, as rows that are looked at often; says how many texts were cut."""
    rows = CompactRows(encode_rows(objective, examples, mixture))
    _note_cut(rows.num_cut, len(rows), name)
    return rows


def _note_cut(count: int, of: int, name: str) -> None:
    if count:
        logger.warning("%d of %d %s texts were cut to fit the model's window", count, of, name)
