"""From files to rows: which task the data is, which examples choose the best step, and everything in tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from softprompt.data import Example, read_examples
from softprompt.errors import TaskError
from softprompt.model import FrozenModel
from softprompt.prompts import SoftPrompt
from softprompt.tasks import ClassificationTask, GenerationTask, Objective, Row, Task
from softprompt.tasks.template import Template
from softprompt.training.order import shuffled
from softprompt.training.settings import TuneSettings

logger = logging.getLogger(__name__)

HELD_OUT = 0.1
FEWEST_HELD_OUT = 4
HELD_OUT_STREAM = 2**40  # far from the epochs' and pools' streams


def task_for(settings: TuneSettings, examples: Sequence[Example]) -> Task:
    """The task that the settings name, or that the examples' fields fit, complete with its labels.

    Raises:
        TaskError, RowError: settings and examples do not fit.
    """
    kind = settings.task or _detected(settings, examples[0])
    template = {} if settings.template is None else {"template": settings.template}
    task: Task
    if kind == "classification":
        task = ClassificationTask(
            labels=settings.labels or (), words=settings.verbalizer, label_field=settings.label_field, **template
        )
    else:
        if settings.labels or settings.verbalizer:
            raise TaskError("--labels and --verbalizer are for a classification, and this is a generation")
        task = GenerationTask(response_field=settings.response_field, **template)
    _check_fields(Template(task.template), examples[0])
    return task.prepared(examples)


def _detected(settings: TuneSettings, example: Example) -> str:
    if settings.labels or settings.label_field in example.fields:
        return "classification"
    if settings.response_field in example.fields:
        return "generation"
    raise TaskError(
        f"{example.where} has neither {settings.label_field!r} nor {settings.response_field!r} "
        f"(its fields are {', '.join(example.fields)}): say --task, and --label-field or --response-field"
    )


def _check_fields(template: Template, example: Example) -> None:
    if unknown := [field for field in template.fields if field not in example.fields]:
        raise TaskError(
            f"the template asks for {{{unknown[0]}}}, but {example.where} has the fields {', '.join(example.fields)}"
        )


def split(settings: TuneSettings, examples: list[Example], task: Task) -> tuple[list[Example], list[Example]]:
    """Training and validation examples; without a validation file, a tenth of the data is held out."""
    if settings.validation is not None:
        held_out = read_examples(settings.validation)
        for example in held_out:
            _check_fields(Template(task.template), example)
        return examples, held_out
    count = round(len(examples) * HELD_OUT)
    if count < FEWEST_HELD_OUT:
        logger.warning("no validation examples, and too few to hold some out: the last step is kept, good or bad")
        return examples, []
    logger.info("no --validation: %d of %d examples are held out to choose the best step", count, len(examples))
    order = shuffled(len(examples), settings.seed, stream=HELD_OUT_STREAM)
    return [examples[i] for i in sorted(order[count:])], [examples[i] for i in sorted(order[:count])]


def bind(task: Task, model: FrozenModel, prompt: SoftPrompt) -> Objective:
    """The task on a model, with the room that the prompt leaves in the window."""
    with torch.no_grad():
        positions = model.compile(prompt()).num_positions
    return task.bind(model, model.shape.window - positions, prompt.head)


def encode(objective: Objective, examples: Sequence[Example], name: str) -> list[Row]:
    """Examples in tokens; says how many texts were cut."""
    rows = [objective.encode(example) for example in examples]
    if cut := sum(row.cut for row in rows):
        logger.warning("%d of %d %s texts were cut to fit the model's window", cut, len(rows), name)
    return rows
