"""What all ways of a comparison share: the base model, the task, and examples that each has one use."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from softprompt.comparison.contamination import check_overlap
from softprompt.comparison.settings import CompareSettings
from softprompt.data import Examples, read_examples
from softprompt.errors import DataError, IncompleteModel, SettingError, TaskError
from softprompt.model import FrozenModel, load_model
from softprompt.tasks import ClassificationTask, LinearHead, Objective, Task, with_answers_each
from softprompt.training.contamination import overlaps
from softprompt.training.preparation import bare, read, split, task_for

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """The same for every way.

    Attributes:
        settings: of the comparison.
        task: complete with its labels.
        training: what is learnt from.
        validation: what rates, draws and steps are chosen by.
        test: what nothing is chosen by.
        elsewhere: examples of the same task from another domain, if there are some.
        overlap: how many inputs two splits have in common, by the splits' names.
    """

    settings: CompareSettings
    task: Task
    training: Examples
    validation: Examples
    test: Examples
    elsewhere: Examples | None
    overlap: dict[str, int]

    @classmethod
    def of(cls, settings: CompareSettings) -> Bench:
        """Read the data and check that the splits are apart.

        Raises:
            SoftPromptError: the data cannot be read, do not fit the task, or test examples are among the others.
        """
        tuning = settings.tuning()
        data = read(tuning)
        task = task_for(tuning, data["data"])
        data = with_answers_each(task, data)
        training, validation = split(tuning, data, task)
        if not len(validation):
            raise DataError(f"{settings.data} has too few examples to hold some out: name some as `validation`")
        meaning = data["data"].meaning.format.name
        test = read_examples(settings.test, settings.map, meaning)
        measured = {"test": test}
        if settings.out_of_domain:
            measured["out of domain"] = read_examples(settings.out_of_domain, settings.map, meaning)
        measured = with_answers_each(task, measured)
        test, elsewhere = measured["test"], measured.get("out of domain")
        if most := [size for size in settings.sizes if size > len(training)]:
            raise SettingError(f"`sizes=[{most[0]}]`: there are {len(training)} examples to learn from")
        if isinstance(task, ClassificationTask) and (few := [n for n in settings.sizes if n < len(task.labels)]):
            raise SettingError(f"`sizes=[{few[0]}]`: there are {len(task.labels)} labels, and each needs an example")
        if settings.seeds > 1 and len(training) in settings.sizes:
            raise SettingError(
                f"`sizes=[{len(training)}]` is all there is to learn from: {settings.seeds} seeds cannot draw "
                "different examples, and all of them are measured anyway. Leave it out"
            )
        splits = {"training": training, "validation": validation, "test": test}
        overlap = overlaps(task, splits | ({"out of domain": elsewhere} if elsewhere else {}))
        check_overlap(overlap, settings.allow_overlap)
        return cls(settings, task, training, validation, test, elsewhere or None, overlap)

    def check(self) -> None:
        """Look at every example that something will be measured on, before anything is trained.

        Raises:
            RowError: an example does not fit the task.
            DataError: the neutral text cannot be read.
        """
        logger.debug("%d neutral paragraphs", len(self.neutral))  # reading them complains where it must
        for example in (*self.validation, *self.test, *(self.elsewhere or ())):
            self.objective.encode(example)

    @cached_property
    def objective(self) -> Objective:
        """The task, read by a head where the model's words have no answer: other ways than prompting may."""
        try:
            return bare(self.task, self.model)
        except (TaskError, IncompleteModel):
            if not self.task.labels:
                raise
            head = LinearHead(len(self.task.labels), self.model.shape.hidden_size).to(self.model.device)
            return self.task.bind(self.model, self.model.shape.window, head)

    @cached_property
    def model(self) -> FrozenModel:
        """The base model, which no way may change: those that change weights take a copy."""
        return load_model(self.settings.model, device=self.settings.device, dtype=self.settings.dtype)

    @cached_property
    def neutral(self) -> Sequence[str]:
        """Paragraphs that have nothing to do with any task.

        Raises:
            DataError: the file named in the settings cannot be read, or is empty.
        """
        source = self.settings.neutral or files("softprompt.comparison") / "neutral.txt"
        try:
            text = source.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"`neutral={str(source)!r}`: {error}") from error
        paragraphs = [each.strip() for each in text.split("\n\n") if each.strip()]
        if not paragraphs:
            raise DataError(f"`neutral={str(source)!r}` is empty")
        return paragraphs
