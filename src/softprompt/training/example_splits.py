"""The examples of a run: how they are loaded, and split into training and validation examples."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from softprompt.data import Example, ExampleDataset, read_examples
from softprompt.tasks import Task
from softprompt.training.random_streams import RandomStream, draw_permutation
from softprompt.training.task_builder import check_template_fields
from softprompt.training.tune_settings import TuneSettings
from softprompt.training.validation_sample import sample_validation_examples

logger = logging.getLogger(__name__)

VALIDATION_FRACTION = 0.1
MIN_VALIDATION_EXAMPLES, MAX_VALIDATION_EXAMPLES = 4, 1000
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
            check_template_fields(task, example)
        return examples, _limit_validation(settings, task, data["validation"])
    count = min(round(len(examples) * VALIDATION_FRACTION), MAX_VALIDATION_EXAMPLES)
    if count < MIN_VALIDATION_EXAMPLES:
        logger.warning(
            "no validation examples, and too few examples to hold some out: the prompt of the last step is kept"
        )
        return examples, examples[:0]
    logger.info("no `validation`: %d of %d examples are held out to select the best step", count, len(examples))
    order = draw_permutation(len(examples), settings.seed, RandomStream.VALIDATION_SPLIT)
    held_out = examples.select(sorted(order[:count]))
    return examples.select(sorted(order[count:])), _limit_validation(settings, task, held_out)


def _limit_validation(settings: TuneSettings, task: Task, validation_examples: ExampleDataset) -> ExampleDataset:
    """Limit validation examples to the settings' maximum number."""
    return sample_validation_examples(task, validation_examples, settings.max_eval_samples, settings.task_field)


def sample_init_examples(settings: TuneSettings, examples: ExampleDataset) -> list[Example]:
    """Return the examples that initialization selects from: all, or a sample of `MAX_INIT_EXAMPLES`."""
    if len(examples) <= MAX_INIT_EXAMPLES:
        return list(examples)
    order = draw_permutation(len(examples), settings.seed, RandomStream.INIT_SAMPLE)
    return list(examples.select(sorted(order[:MAX_INIT_EXAMPLES])))
