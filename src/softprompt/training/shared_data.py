"""Data of several runs, read, split and put in tokens once for all that do it alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from softprompt.data import Examples
from softprompt.model import FrozenModel
from softprompt.prompts import PromptOptions, num_virtual_tokens, shows_examples
from softprompt.tasks import Demonstrations, Objective, Task, with_answers_each
from softprompt.tasks.compact_rows import CompactRows
from softprompt.training.contamination import warn_of_shared_inputs
from softprompt.training.mixture import Mixture
from softprompt.training.preparation import (
    SHOWN_AMONG,
    encode,
    encode_compactly,
    learnable,
    mixed,
    opening,
    read,
    split,
    task_for,
)
from softprompt.training.rows import EncodedRows
from softprompt.training.settings import TuneSettings

Found = TypeVar("Found")
Encoded = TypeVar("Encoded")

FILES = ("data", "validation", "map", "format")
TASK = ("task", "template", "labels", "verbalizer", "label_field", "response_field")


class PreparedData(NamedTuple):
    """What a run learns from, before it is in tokens.

    Attributes:
        task: complete with its labels.
        examples: to learn from.
        held_out: to choose the best step by.
        mixture: the tasks that are learnt together, if there are several.
        digests: the hashes of the files' contents, by the names of their settings.
    """

    task: Task
    examples: Examples
    held_out: Examples
    mixture: Mixture | None
    digests: dict[str, str]


class SharedData:
    """Remembers what was made for a run, for the runs after it that would make the same.

    It holds on to all of it, so it is thrown away when the runs are ready.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def prepare(self, settings: TuneSettings) -> PreparedData:
        """The task and the examples that settings describe.

        Raises:
            SoftPromptError: the data cannot be read, or do not fit the settings.
        """
        names = (*FILES, *TASK, "task_field", "validation_rows", *(() if settings.validation else ("seed",)))
        return self._once(("prepared", _dump(settings, names)), lambda: self._prepare(settings))

    def _prepare(self, settings: TuneSettings) -> PreparedData:
        task, data = self._once(("task", _dump(settings, (*FILES, *TASK))), lambda: self._read_for_task(settings))
        examples, held_out = split(settings, data, task)
        if "validation" in data:
            warn_of_shared_inputs(task, examples, held_out)
        digests = {name: each.digest for name, each in data.items()}
        return PreparedData(task, examples, held_out, mixed(settings, data["data"]), digests)

    def _read_for_task(self, settings: TuneSettings) -> tuple[Task, dict[str, Examples]]:
        data = self._once(("read", _dump(settings, FILES)), lambda: read(settings))
        task = task_for(settings, data["data"])
        return task, with_answers_each(task, data)

    def find_opening(
        self, settings: TuneSettings, options: PromptOptions, task: Task, model: FrozenModel, examples: Examples
    ) -> str | Demonstrations:
        """What the virtual tokens say at first: see `opening`."""
        drawn = settings.seed if len(examples) > SHOWN_AMONG else None
        room = num_virtual_tokens(options, model)
        of = (task.model_dump_json(), id(model.tokenizer), id(examples), drawn, room, shows_examples(options, model))
        return self._once(("opening", *of), lambda: opening(settings, options, task, model, examples))

    def encode_training(self, objective: Objective, examples: Examples, mixture: Mixture | None) -> EncodedRows:
        """Examples to learn from as rows of an objective: see `encode`. Those that cannot be learnt from are left out.

        Raises:
            RowError, TaskError: an example does not fit the task, or nothing is left.
        """
        rows = self._encode("training", objective, examples, mixture, lambda rows: not (rows.cut or rows.lost), encode)
        return learnable(replace(rows, objective=objective), examples)

    def encode_validation(self, objective: Objective, examples: Examples, mixture: Mixture | None) -> CompactRows:
        """Examples to choose the best step by as rows of an objective: see `encode_compactly`.

        Raises:
            RowError: an example does not fit the task.
        """
        return self._encode("validation", objective, examples, mixture, lambda rows: not rows.num_cut, encode_compactly)

    def _encode(
        self,
        name: str,
        objective: Objective,
        examples: Examples,
        mixture: Mixture | None,
        is_whole: Callable[[Encoded], bool],
        make: Callable[[Objective, Examples, str, Mixture | None], Encoded],
    ) -> Encoded:
        """Rows of another run that puts them in tokens in the same way, or new ones.

        Where nothing was cut, more room changes nothing, so runs with other numbers of virtual tokens share rows too.
        """
        way, room = _way_to_encode(objective), _room(objective)
        known: list[tuple[int, Encoded]] = self._once((name, *way, id(examples), mixture), list)
        for other, rows in known:
            if other == room or (other < room and is_whole(rows)):
                return rows
        known.append((room, made := make(objective, examples, name, mixture)))
        return made

    def _once(self, key: Hashable, make: Callable[[], Found]) -> Found:
        if key not in self._made:
            self._made[key] = make()
        made: Found = self._made[key]
        return made


def _dump(settings: TuneSettings, names: Sequence[str]) -> str:
    return settings.model_dump_json(include=set(names))


def _way_to_encode(objective: Any) -> tuple[Hashable, ...]:
    """What the ids of an example depend on, beside the room."""
    reader = getattr(objective, "reader", None)
    asked = None if reader is None else (str(type(reader)), reader.extra_tokens, reader.answer_begins)
    task: str = objective.task.model_dump_json()
    return str(type(objective)), task, id(objective.model.tokenizer), asked


def _room(objective: Any) -> int:
    room: int = objective.room
    return room
