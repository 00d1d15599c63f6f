"""Cache of datasets for several runs, so that equal data are read, split and encoded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from softprompt.data import ExampleDataset
from softprompt.model import FrozenModel
from softprompt.prompts import PromptOptions, num_virtual_tokens, uses_demonstrations
from softprompt.tasks import FewShotContext, Objective, Task, filter_answered_splits
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.compact_examples import CompactExamples
from softprompt.training.encoded_dataset import (
    EncodedDataset,
    drop_truncated_targets,
    encode_compact_examples,
    encode_dataset,
)
from softprompt.training.example_splits import MAX_INIT_EXAMPLES, load_examples, split_train_validation
from softprompt.training.prompt_setup import build_init_source
from softprompt.training.split_overlap import warn_about_shared_inputs
from softprompt.training.task_builder import build_task
from softprompt.training.task_mixture import TaskMixture
from softprompt.training.tune_settings import TuneSettings

Cached = TypeVar("Cached")
Encoded = TypeVar("Encoded")

DATA_SETTINGS = ("data", "validation", "map", "format")
TASK_SETTINGS = ("task", "template", "labels", "verbalizer", "label_field", "response_field")


@dataclass(frozen=True)
class TrainingData:
    """Task and examples of a run, before encoding.

    Attributes:
        task: Task, complete with its labels.
        train_examples: Training examples.
        validation_examples: Validation examples, which select the best step.
        mixture: Mixture of the tasks, if several are trained together.
        digests: Hash of the content of each data source, by the name of its setting.
    """

    task: Task
    train_examples: ExampleDataset
    validation_examples: ExampleDataset
    mixture: TaskMixture | None = None
    digests: dict[str, str] = field(default_factory=dict)


class DatasetCache:
    """Cache of a run's datasets, for later runs that would build the same ones.

    The cache holds references to all entries, so it should be dropped once the runs are prepared.
    """

    def __init__(self) -> None:
        self._entries: dict[Hashable, Any] = {}

    def prepare_data(self, settings: TuneSettings) -> TrainingData:
        """Return the task and the examples that settings describe.

        Raises:
            SoftPromptError: If the data cannot be read, or do not fit the settings.
        """
        names = (
            *DATA_SETTINGS,
            *TASK_SETTINGS,
            "task_field",
            "max_eval_samples",
            *(() if settings.validation else ("seed",)),
        )
        return self._get_or_create(
            ("prepared", _dump_settings(settings, names)), lambda: self._prepare_uncached(settings)
        )

    def _prepare_uncached(self, settings: TuneSettings) -> TrainingData:
        task, data = self._get_or_create(
            ("task", _dump_settings(settings, (*DATA_SETTINGS, *TASK_SETTINGS))), lambda: self._load_for_task(settings)
        )
        train_examples, validation_examples = split_train_validation(settings, data, task)
        if "validation" in data:
            warn_about_shared_inputs(task, train_examples, validation_examples)
        mixture = None if settings.task_field is None else TaskMixture.from_examples(settings.task_field, data["data"])
        digests = {name: dataset.digest for name, dataset in data.items()}
        return TrainingData(task, train_examples, validation_examples, mixture, digests)

    def _load_for_task(self, settings: TuneSettings) -> tuple[Task, dict[str, ExampleDataset]]:
        data = self._get_or_create(("read", _dump_settings(settings, DATA_SETTINGS)), lambda: load_examples(settings))
        task = build_task(settings, data["data"])
        return task, filter_answered_splits(task, data)

    def get_init_source(
        self, settings: TuneSettings, options: PromptOptions, task: Task, model: FrozenModel, examples: ExampleDataset
    ) -> str | FewShotContext:
        """Return what the virtual tokens are initialized from, see `build_init_source`."""
        sample_seed = settings.seed if len(examples) > MAX_INIT_EXAMPLES else None
        max_tokens = num_virtual_tokens(options, model)
        key = (
            task.model_dump_json(),
            id(model.tokenizer),
            id(examples),
            sample_seed,
            max_tokens,
            uses_demonstrations(options, model),
        )
        return self._get_or_create(
            ("init_source", *key), lambda: build_init_source(settings, options, task, model, examples)
        )

    def encode_training(
        self, objective: Objective, examples: ExampleDataset, mixture: TaskMixture | None
    ) -> EncodedDataset:
        """Encode training examples, without examples whose target was truncated, see `encode_dataset`.

        Raises:
            RecordError, TaskError: If an example does not fit the task, or no example is left.
        """
        dataset = self._get_or_encode(
            "training",
            objective,
            examples,
            mixture,
            lambda known: not (known.num_truncated or known.truncated_target_indices),
            encode_dataset,
        )
        return drop_truncated_targets(replace(dataset, objective=objective), examples)

    def encode_validation(
        self, objective: Objective, examples: ExampleDataset, mixture: TaskMixture | None
    ) -> CompactExamples:
        """Encode validation examples, see `encode_compact_examples`.

        Raises:
            RecordError: If an example does not fit the task.
        """
        return self._get_or_encode(
            "validation", objective, examples, mixture, lambda known: not known.num_truncated, encode_compact_examples
        )

    def _get_or_encode(
        self,
        split_name: str,
        objective: Objective,
        examples: ExampleDataset,
        mixture: TaskMixture | None,
        is_untruncated: Callable[[Encoded], bool],
        encode: Callable[[Objective, ExampleDataset, str, TaskMixture | None], Encoded],
    ) -> Encoded:
        """Return the dataset of another run that encodes the examples in the same way, or encode them.

        If no example was truncated, a larger maximum length changes nothing. So runs with other numbers of virtual
        tokens share datasets, too.
        """
        key, max_length = _get_encoding_key(objective), objective.max_length
        entries: list[tuple[int, Encoded]] = self._get_or_create((split_name, *key, id(examples), mixture), list)
        for known_length, known in entries:
            if known_length == max_length or (known_length < max_length and is_untruncated(known)):
                return known
        encoded = encode(objective, examples, split_name, mixture)
        entries.append((max_length, encoded))
        return encoded

    def _get_or_create(self, key: Hashable, create: Callable[[], Cached]) -> Cached:
        if key not in self._entries:
            self._entries[key] = create()
        value: Cached = self._entries[key]
        return value


def _dump_settings(settings: TuneSettings, names: Sequence[str]) -> str:
    return settings.model_dump_json(include=set(names))


def _get_encoding_key(objective: Objective) -> tuple[Hashable, ...]:
    """Return everything that the token ids of an example depend on, except the maximum length."""
    scorer = objective.label_scorer if isinstance(objective, ClassificationObjective) else None
    scorer_key = None if scorer is None else (str(type(scorer)), scorer.max_extra_tokens, scorer.first_output_offset)
    return str(type(objective)), objective.task.model_dump_json(), id(objective.model.tokenizer), scorer_key
