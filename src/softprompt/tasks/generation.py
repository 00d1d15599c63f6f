"""Write a response: the template, then the answer and the end of the text. The loss is on the response alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from softprompt.data import Example
from softprompt.errors import RowError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks.demonstrations import BLANK_LINE, Demonstration, Demonstrations, fitting
from softprompt.tasks.linear_head import LinearHead
from softprompt.tasks.objective import Row
from softprompt.tasks.template import Template, joined, only_field
from softprompt.tasks.writing import WritingObjective

SHOWN_FROM = 500  # examples among which some are looked for to start from


class GenerationTask(BaseModel):
    """Instruction in, response out.

    Attributes:
        template: what the model sees before it writes.
        response_field: the field with the response to learn.
        references_field: the field with one or several right responses, to be measured against.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["generation"] = "generation"
    template: str = "{input}\n"
    response_field: str = "output"
    references_field: str = "references"

    def start_text(self, model: FrozenModel, examples: Sequence[Example], room: int) -> str:  # noqa: ARG002
        """What the virtual tokens say before they are trained: the task in words."""
        return "Read the input carefully and write the right response to it, complete, correct and in good style.\n\n"

    def demonstrations(self, model: FrozenModel, examples: Sequence[Example], room: int) -> Demonstrations:
        """As many different examples with their responses as fit in `room` tokens, among the first of them.

        Raises:
            SettingError: not one fits.
        """
        return fitting([[self.demonstration(model, example) for example in examples[:SHOWN_FROM]]], room)

    def demonstration(self, model: FrozenModel, example: Example) -> Demonstration:
        """An example with its response, in tokens."""
        template = Template(self.template)
        answer = joined(template, self.references(example)[0])
        said, end = model.answer(template.tail, answer), model.continuation(answer, BLANK_LINE)
        return Demonstration(template.filled(model, example), said, end)

    @property
    def labels(self) -> tuple[str, ...]:
        """None: a response is written, not chosen."""
        return ()

    def prepared(self, examples: Sequence[Example]) -> GenerationTask:
        """The task as it is; every example must have a field for a response.

        Raises:
            RowError: one has none.
        """
        for example in examples:
            self._responses(example)
        return self

    def has_answer(self, example: Example) -> bool:
        """Whether an example has a response that is not blank.

        Raises:
            RowError: it has no field for one.
        """
        return bool(self._responses(example))

    def references(self, example: Example) -> list[str]:
        """The right responses to an example: its response, or else its references.

        Raises:
            RowError: it has neither, or they are blank.
        """
        responses = self._responses(example)
        if not responses:
            raise RowError(example.where, "its response is blank, so there is nothing to learn: leave the row out")
        return responses

    def _responses(self, example: Example) -> list[str]:
        """The responses that are not blank, or are null."""
        for field, read in ((self.response_field, example.text), (self.references_field, example.texts)):
            if field in example.fields:
                texts = [] if example.fields[field] in (None, []) else read(field)
                return [text for text in ([texts] if isinstance(texts, str) else texts) if text.strip()]
        raise RowError(
            example.where,
            f"no field {self.response_field!r} or {self.references_field!r}: it has {', '.join(example.fields)}",
        )

    def bind(self, model: FrozenModel, room: int, head: LinearHead | None = None) -> GenerationObjective:
        """The task on a model that leaves `room` positions for a row.

        Raises:
            TaskError: there is a head, which can only choose among labels, or the model does not write.
        """
        if head is not None:
            raise TaskError(
                'a linear head chooses among labels and cannot write a response: choose `head="verbalizer"`'
            )
        return GenerationObjective(model, self, room)


class GenerationObjective(WritingObjective):
    """A template, the response, and the end-of-text token behind it.

    Raises:
        TaskError: the model does not write, or the template has a blank.
    """

    def __init__(self, model: FrozenModel, task: GenerationTask, room: int):
        super().__init__(model, room)
        self.task = task
        self.template = Template(task.template)
        self.template.check_blank(model)

    def encode(self, example: Example) -> Row:
        """Template and response; the template's fields are cut where both do not fit, the response never."""
        response = [*self._response(self.task.references(example)[0]), self.end]
        prompt, cut = self.template.encode(self.model, example, self._room_beside(response, example))
        return Row(prompt, response, cut=cut)

    def _encode_batch(self, examples: Sequence[Example]) -> list[Row]:
        answers = [joined(self.template, self.task.references(example)[0]) for example in examples]
        responses = [[*ids, self.end] for ids in self.model.answers(self.template.tail, answers)]
        rooms = [self._room_beside(response, example) for response, example in zip(responses, examples, strict=True)]
        encoded = self.template.encode_all(self.model, examples, rooms)
        return [Row(ids, response, cut=cut) for (ids, cut), response in zip(encoded, responses, strict=True)]

    def _room_beside(self, response: list[int], example: Example) -> int:
        """The room that a response leaves for the template.

        Raises:
            RowError: none.
        """
        room = self.model.room_beside(len(response), self.room)
        if room < 1:
            raise RowError(example.where, f"the response needs {len(response)} tokens where {self.room} fit in all")
        return room

    def encode_prompt(self, example: Example, max_new_tokens: int) -> Row:
        """The template alone, with room for that many tokens of response.

        Raises:
            SettingError: so many leave no room for the template, or are none.
        """
        prompt, cut = self.template.encode(self.model, example, self.room_for_prompt(max_new_tokens))
        return Row(prompt, [], cut=cut)

    def encode_unanswered(self, example: Example, max_new_tokens: int) -> Row:
        """The template alone, as `encode_prompt`."""
        return self.encode_prompt(example, max_new_tokens)

    def references(self, example: Example) -> list[str]:
        """The task's."""
        return self.task.references(example)

    def asked(self, text: str) -> Example:
        """The text in the template's only field.

        Raises:
            TaskError: it has several.
        """
        return Example({only_field(self.template): text}, "the text")

    def _response(self, text: str) -> list[int]:
        return self.model.answer(self.template.tail, joined(self.template, text))
