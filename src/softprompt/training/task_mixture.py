"""Task mixtures: several tasks in one dataset, with a field that holds each example's task."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.data.example import missing_field_message
from softprompt.errors import RecordError, SettingError, TaskError

TASK_NAME_PATTERN = re.compile(r"\w[\w. -]*")


@dataclass(frozen=True)
class TaskMixture:
    """Mixture of several tasks.

    Attributes:
        task_field: Name of the field with an example's task.
        task_names: Names of the tasks in alphabetical order.
    """

    task_field: str
    task_names: tuple[str, ...]

    @classmethod
    def from_examples(cls, task_field: str, examples: Iterable[Example]) -> TaskMixture:
        """Collect the tasks of examples.

        Raises:
            RecordError: If an example lacks the field.
            TaskError: If there is only one task.
            SettingError: If the name of a task cannot be a folder name.
        """
        tasks = tuple(sorted({_read_task_name(example, task_field) for example in examples}))
        if len(tasks) < 2:
            raise TaskError(
                f"`task_field={task_field!r}`: all examples have the task {tasks[0]!r}: leave `task_field` out, or add "
                "examples of another task"
            )
        if invalid_names := [name for name in tasks if not TASK_NAME_PATTERN.fullmatch(name)]:
            raise SettingError(
                f"`task_field={task_field!r}`: each task's prompt gets a folder of its name, and {invalid_names[0]!r} "
                "is not a folder name: use letters, digits, '.', '_', '-'"
            )
        return cls(task_field, tasks)

    def get_task_index(self, example: Example) -> int:
        """Return the index of an example's task.

        Raises:
            RecordError: If the example has an unknown task.
        """
        name = _read_task_name(example, self.task_field)
        if name not in self.task_names:
            raise RecordError(example.location, f"unknown task {name!r}: use one of {', '.join(self.task_names)}")
        return self.task_names.index(name)


def _read_task_name(example: Example, task_field: str) -> str:
    if task_field not in example.fields:
        raise RecordError(example.location, missing_field_message([task_field], example.fields, " with the task"))
    return example.get_text(task_field)
