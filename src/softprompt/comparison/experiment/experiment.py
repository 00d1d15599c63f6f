"""What all methods of a comparison share: the base model, the task and the data splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.experiment.overlap_check import check_overlap
from softprompt.data import ExampleDataset, read_examples
from softprompt.distillation.source_text import SourceText
from softprompt.errors import DataError, IncompleteModel, SettingError, TaskError
from softprompt.model import FrozenModel, load_model
from softprompt.tasks import ClassificationTask, LinearHead, Objective, Task, filter_answered_splits
from softprompt.training.example_splits import load_examples, split_train_validation
from softprompt.training.split_overlap import count_overlaps
from softprompt.training.task_builder import bind_without_prompt, build_task

logger = logging.getLogger(__name__)

EXAMPLES_SPLIT = "examples"  # the text in front of the inputs, if it is a few-shot prompt


@dataclass(frozen=True)
class Experiment:
    """The data, task and base model that all methods of a comparison share.

    Attributes:
        settings: settings of the comparison.
        task: task with its labels.
        training: training examples.
        validation: examples that select learning rates, draws and steps.
        test: held-out test examples.
        out_of_domain: examples of the same task from another domain, or None.
        overlap: number of shared inputs by pair of splits, such as `training and test`.
        text: text in front of the inputs, for the methods that use one; or None.
    """

    settings: CompareSettings
    task: Task
    training: ExampleDataset
    validation: ExampleDataset
    test: ExampleDataset
    out_of_domain: ExampleDataset | None
    overlap: dict[str, int]
    text: SourceText | None = None

    @classmethod
    def prepare(cls, settings: CompareSettings) -> Experiment:
        """Read the data and the text in front of the inputs, and check that the splits do not overlap.

        Raises:
            SoftPromptError: data or text cannot be read, do not match the task, or the splits overlap.
        """
        tuning = settings.to_tune_settings()
        data = load_examples(tuning)
        task = build_task(tuning, data["data"])
        data = filter_answered_splits(task, data)
        training, validation = split_train_validation(tuning, data, task)
        if not len(validation):
            raise DataError(f"{settings.data} has too few examples for a validation split: pass `validation`")
        record_format = data["data"].mapping.format.name
        test = read_examples(settings.test, settings.map, record_format)
        measured = {"test": test}
        if settings.out_of_domain:
            measured["out of domain"] = read_examples(settings.out_of_domain, settings.map, record_format)
        measured = filter_answered_splits(task, measured)
        test, out_of_domain = measured["test"], measured.get("out of domain")
        if too_large := [size for size in settings.train_sizes if size > len(training)]:
            raise SettingError(f"`train_sizes=[{too_large[0]}]`: there are only {len(training)} training examples")
        if isinstance(task, ClassificationTask) and (few := [n for n in settings.train_sizes if n < len(task.labels)]):
            raise SettingError(f"`train_sizes=[{few[0]}]`: choose at least {len(task.labels)}, the number of labels")
        if settings.seeds > 1 and len(training) in settings.train_sizes:
            raise SettingError(
                f"`train_sizes=[{len(training)}]` is the whole training set, which is measured anyway, and "
                f"{settings.seeds} seeds cannot draw different examples: remove it"
            )
        splits = {"training": training, "validation": validation, "test": test}
        overlap = count_overlaps(task, splits | ({"out of domain": out_of_domain} if out_of_domain else {}))
        text = settings.read_source(settings.map, record_format) if settings.source_kinds else None
        if text is not None and text.demonstrations is not None:
            overlap |= _count_overlaps_with_examples(task, text.demonstrations, measured)
        check_overlap(overlap, settings.allow_overlap)
        return cls(settings, task, training, validation, test, out_of_domain or None, overlap, text)

    @property
    def text_digest(self) -> str | None:
        """The kind and the hash of the text in front of the inputs; None without one."""
        return None if self.text is None else f"{self.text.kind} {self.text.digest}"

    def validate_examples(self) -> None:
        """Check every example that will be evaluated, before any training.

        Raises:
            RecordError: an example does not match the task.
            DataError: the reference text cannot be read.
        """
        logger.debug("%d paragraphs of reference text", len(self.reference_texts))  # raises if it cannot be read
        for example in (*self.validation, *self.test, *(self.out_of_domain or ())):
            self.objective.encode_example(example)

    @cached_property
    def objective(self) -> Objective:
        """The task's objective; with a linear head if the model cannot answer in words, as trained methods allow."""
        try:
            return bind_without_prompt(self.task, self.model)
        except (TaskError, IncompleteModel):
            if not self.task.labels:
                raise
            head = LinearHead(len(self.task.labels), self.model.shape.hidden_size).to(self.model.device)
            return self.task.build_objective(self.model, self.model.shape.window, head)

    @cached_property
    def model(self) -> FrozenModel:
        """The base model. Methods that change weights train a copy."""
        return load_model(self.settings.model, device=self.settings.device, dtype=self.settings.dtype)

    @cached_property
    def reference_texts(self) -> Sequence[str]:
        """The paragraphs of the reference text.

        Raises:
            DataError: the file of the settings cannot be read, or is empty.
        """
        source = self.settings.reference_text or files("softprompt.comparison.experiment") / "reference_text.txt"
        try:
            text = source.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"`reference_text={str(source)!r}`: {error}") from error
        paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
        if not paragraphs:
            raise DataError(f"`reference_text={str(source)!r}` is empty")
        return paragraphs


def _count_overlaps_with_examples(
    task: Task, examples: ExampleDataset, measured: Mapping[str, ExampleDataset]
) -> dict[str, int]:
    """Count the inputs that the examples in front of all inputs share with each split that is measured."""
    overlaps = count_overlaps(task, {EXAMPLES_SPLIT: examples, **measured})
    return {pair: count for pair, count in overlaps.items() if pair.startswith(f"{EXAMPLES_SPLIT} and ")}
