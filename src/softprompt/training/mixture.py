"""Several tasks in one file of examples, told apart by a field."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.errors import RowError, SettingError, TaskError

NAME = re.compile(r"\w[\w. -]*")


@dataclass(frozen=True)
class Mixture:
    """Which of several tasks an example is of.

    Attributes:
        field: the field that says so.
        tasks: the names that it has, in alphabetical order.
    """

    field: str
    tasks: tuple[str, ...]

    @classmethod
    def of(cls, field: str, examples: Iterable[Example]) -> Mixture:
        """The tasks that are found in examples.

        Raises:
            RowError: an example without the field.
            TaskError: there is one task alone.
            SettingError: a name that cannot be a folder's.
        """
        tasks = tuple(sorted({_named(example, field) for example in examples}))
        if len(tasks) < 2:
            raise TaskError(
                f"`task_field={field!r}`: all examples are of the task {tasks[0]!r}, where several are learnt"
            )
        if wrong := [name for name in tasks if not NAME.fullmatch(name)]:
            raise SettingError(
                f"`task_field={field!r}`: each task's prompt gets a folder of its name, and {wrong[0]!r} cannot be "
                "one: use letters, digits, '.', '_', '-'"
            )
        return cls(field, tasks)

    def index(self, example: Example) -> int:
        """Which task an example is of.

        Raises:
            RowError: none of these.
        """
        name = _named(example, self.field)
        if name not in self.tasks:
            raise RowError(example.where, f"task {name!r} is none that is learnt: {', '.join(self.tasks)}")
        return self.tasks.index(name)


def _named(example: Example, field: str) -> str:
    if field not in example.fields:
        raise RowError(example.where, f"no field {field!r} that says which task it is of: {', '.join(example.fields)}")
    return example.text(field)
